"""The apiserver as Ambit sees it: a client on aiohttp, and caches kept by list and watch.

Everything that every process needs of Kubernetes is here and nothing else: no knowledge of Ambit's kinds but their
paths (`resources`). What the objects mean is `ambit.api`'s; what to do about them, the processes'.
"""

from ambit.kube.client import KubeClient
from ambit.kube.config import ConfigError, KubeConfig
from ambit.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from ambit.kube.listwatch import Change, Key, ListWatch
from ambit.kube.resources import Resource
from ambit.kube.reviews import Access, Identity

__all__ = [
    "Access",
    "AlreadyExists",
    "ApiError",
    "Change",
    "ConfigError",
    "Conflict",
    "Forbidden",
    "Gone",
    "Identity",
    "Invalid",
    "Key",
    "KubeClient",
    "KubeConfig",
    "ListWatch",
    "NotFound",
    "Resource",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
]

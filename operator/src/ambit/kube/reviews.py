"""Who is it, and may they: TokenReview and SubjectAccessReview as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

POD_NAME_EXTRA: Final = "authentication.kubernetes.io/pod-name"
POD_UID_EXTRA: Final = "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True)
class Identity:
    """Who the apiserver, or a certificate, says the caller is."""

    username: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def pod_name(self) -> str | None:
        """The pod that a projected token is bound to; None for any other identity."""
        return self._one(POD_NAME_EXTRA)

    @property
    def pod_uid(self) -> str | None:
        """The UID of the pod that a projected token is bound to; None for any other identity."""
        return self._one(POD_UID_EXTRA)

    def _one(self, name: str) -> str | None:
        values = self.extra.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True)
class Access:
    """One act on one resource, as RBAC names it."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    """Empty: all namespaces, or a resource without them."""
    name: str = ""
    """Empty: all names."""


def token_review(token: str, audiences: tuple[str, ...]) -> dict[str, Any]:
    """The body of a TokenReview."""
    spec: dict[str, Any] = {"token": token}
    if audiences:
        spec["audiences"] = list(audiences)
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def reviewed_identity(review: Mapping[str, Any], audiences: tuple[str, ...]) -> Identity | None:
    """The identity in a TokenReview's answer; None if the token is not good, or not meant for any of `audiences`."""
    status: Mapping[str, Any] = review.get("status") or {}
    if status.get("authenticated") is not True:
        return None
    # An authenticator that knows nothing of audiences answers with none; its token was not meant for us.
    if audiences and not set(audiences) & set(status.get("audiences") or ()):
        return None
    user: Mapping[str, Any] = status["user"]
    extra: Mapping[str, list[str]] = user.get("extra") or {}
    return Identity(
        username=user["username"],
        groups=tuple(user.get("groups") or ()),
        uid=user.get("uid") or "",
        extra=MappingProxyType({key: tuple(values) for key, values in extra.items()}),
    )


def subject_access_review(identity: Identity, access: Access) -> dict[str, Any]:
    """The body of a SubjectAccessReview."""
    attributes = {
        "verb": access.verb,
        "group": access.group,
        "resource": access.resource,
        "subresource": access.subresource,
        "namespace": access.namespace,
        "name": access.name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": identity.username,
            "groups": list(identity.groups),
            "uid": identity.uid,
            "extra": {key: list(values) for key, values in identity.extra.items()},
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }

"""An isolate Agent's code: what the ConfigMap holds, as the bundle that its hash pins to the session."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec


@dataclass(frozen=True)
class Bundle:
    """Canonical JSON (sorted keys, no spaces, UTF-8) of `{main, modules}`."""

    body: bytes
    sha256: str
    """Of `body`, hexadecimal."""


def bundle(main: str, modules: Mapping[str, str]) -> Bundle:
    """The bundle of these modules; equal modules give equal bytes."""
    body = msgspec.json.encode({"main": main, "modules": dict(modules)}, order="sorted")
    return Bundle(body, sha256(body).hexdigest())


def sizes(modules: Mapping[str, str]) -> dict[str, int]:
    """The size in bytes of each module, as `ambit.policy` judges them."""
    return {name: len(source.encode()) for name, source in modules.items()}

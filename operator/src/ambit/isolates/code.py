"""Agents' code, kept by the hash of its bytes: what the gateway pinned to a session is what runs.

A bundle is canonical JSON (sorted keys, no spaces, UTF-8): `{"main": "agent.js", "modules": {"agent.js": "…"}}`.
"""

import hashlib
import re
from collections import OrderedDict

import msgspec

MAX_BUNDLE_BYTES = 900 << 10
"""What fits a ConfigMap beside its metadata (its limit is 1 MiB)."""
MAX_MODULES = 64
MODULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\.m?js")
"""Flat, as the keys of a ConfigMap are."""
RESERVED_PREFIX = "ambit-"
"""The host's own modules in an agent's isolate are called so."""


class CodeRefused(Exception):
    """The bundle is not what it says it is, or cannot be loaded; the message says what is wrong."""


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    main: str
    modules: dict[str, str]


def verify(sha256: str, raw: bytes) -> Bundle:
    """The bundle in `raw`. Raises CodeRefused unless it has that hash, is canonical and can be loaded."""
    if len(raw) > MAX_BUNDLE_BYTES:
        raise CodeRefused(f"the bundle has {len(raw)} bytes; {MAX_BUNDLE_BYTES} are the most")
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise CodeRefused("the bundle does not have that sha256")
    try:
        bundle = msgspec.json.decode(raw, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodeRefused(f"the bundle is not {{main, modules}}: {error}") from error
    if msgspec.json.encode(bundle, order="sorted") != raw:
        raise CodeRefused("the bundle is not canonical JSON (sorted keys, no spaces, UTF-8)")
    if not 1 <= len(bundle.modules) <= MAX_MODULES:
        raise CodeRefused(f"the bundle has {len(bundle.modules)} modules; 1 to {MAX_MODULES} are allowed")
    for name in bundle.modules:
        if not MODULE_NAME.fullmatch(name) or name.startswith(RESERVED_PREFIX):
            raise CodeRefused(
                f"{name!r} cannot be a module's name: write letters, digits, '.', '_' or '-', ending in .js or .mjs, "
                f"and not beginning with {RESERVED_PREFIX!r}"
            )
    if bundle.main not in bundle.modules:
        raise CodeRefused(f"the main module {bundle.main!r} is not among the modules")
    return bundle


class CodeStore:
    """Bundles by sha256, at most `max_bytes` of them; the least recently used goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bundles: OrderedDict[str, bytes] = OrderedDict()

    def put(self, sha256: str, raw: bytes) -> None:
        """Raises CodeRefused."""
        if sha256 in self._bundles:
            self._bundles.move_to_end(sha256)
            return
        verify(sha256, raw)
        self._bundles[sha256] = raw
        self._bytes += len(raw)
        while self._bytes > self._max_bytes and len(self._bundles) > 1:
            _, oldest = self._bundles.popitem(last=False)
            self._bytes -= len(oldest)

    def get(self, sha256: str) -> bytes | None:
        """The canonical JSON that was put under that hash, if it is still kept."""
        raw = self._bundles.get(sha256)
        if raw is not None:
            self._bundles.move_to_end(sha256)
        return raw

"""Carries out what `keys` finds missing, and holds what the operator itself needs of the keys."""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ambit.api.names import TRUST
from ambit.control import keys
from ambit.control.manifests import MANAGED_BY
from ambit.kube import AlreadyExists, ApiError, KubeClient, NotFound, resources

LOOK_AGAIN_S: Final = 600.0
RETRY_S: Final = 2.0
Json = dict[str, Any]

_log = logging.getLogger(__name__)


class Keyring:
    """The control plane's keys. Looked at when the operator starts and every ten minutes."""

    def __init__(self, client: KubeClient, namespace: str, changed: Callable[[], None]) -> None:
        self._client = client
        self._namespace = namespace
        self._changed = changed
        self._session_signer: Ed25519PrivateKey | None = None
        self.gateway_public_key: str | None = None
        """PEM; None until the keys are there."""
        self.ready = asyncio.Event()
        """Set once the keys are there."""
        self.problem: str | None = "the keys have not been looked at yet"
        """Why the keys are not there; None: they are."""

    def session_signer(self) -> Ed25519PrivateKey:
        """What session tokens are signed with. The workers start once it is there."""
        if self._session_signer is None:
            raise RuntimeError("the session signer is asked for before the keys are there")
        return self._session_signer

    async def run(self) -> NoReturn:
        """Keeps the keys until cancelled."""
        while True:
            try:
                await self.look()
                self.problem, rest_s = None, LOOK_AGAIN_S
                self.ready.set()
            except (ApiError, keys.KeyDamaged) as refused:
                self.problem, rest_s = str(refused), RETRY_S
                _log.error("the control plane's keys: %s", refused)
            await asyncio.sleep(rest_s)

    async def look(self) -> None:
        """Makes what is missing, and learns the keys. Raises ApiError, KeyDamaged."""
        state = await self._read()
        for write in keys.missing(state, datetime.now(UTC), keys.gateway_names(self._namespace)):
            await self._write(write)
        state = await self._read()
        signer, gateway = state.secrets[keys.SESSION_SIGNER], state.secrets[keys.GATEWAY_SIGNER]
        if signer is None or gateway is None:
            raise keys.KeyDamaged(keys.SESSION_SIGNER, "it vanished as soon as it was made")
        self._session_signer = keys.load_signer(keys.SESSION_SIGNER, signer)
        public = keys.public_pem(keys.GATEWAY_SIGNER, gateway)
        if public != self.gateway_public_key:
            self.gateway_public_key = public
            self._changed()

    async def _read(self) -> keys.KeyState:
        secrets: dict[str, Mapping[str, bytes] | None] = {}
        for name in keys.SECRETS:
            found = await self._get(resources.SECRETS, name)
            secrets[name] = None if found is None else _decoded(found)
        trust = await self._get(resources.CONFIG_MAPS, TRUST)
        return keys.KeyState(secrets, None if trust is None else trust.get("data") or {})

    async def _get(self, resource: resources.Resource, name: str) -> Json | None:
        try:
            return await self._client.get(resource, name, self._namespace)
        except NotFound:
            return None

    async def _write(self, write: keys.WriteSecret | keys.WriteTrust) -> None:
        if isinstance(write, keys.WriteSecret):
            resource, name = resources.SECRETS, write.name
            data: Json = {key: base64.b64encode(value).decode() for key, value in write.data.items()}
            extra: Json = {"type": "kubernetes.io/tls" if name == keys.GATEWAY_TLS else "Opaque"}
        else:
            resource, name, data, extra = resources.CONFIG_MAPS, TRUST, dict(write.data), {}
        _log.info("%s %s %s", "renewing" if write.replace else "making", resource.kind, name)
        if write.replace:
            await self._client.patch(resource, name, {"data": data}, self._namespace)
            return
        body = {
            "apiVersion": "v1",
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": self._namespace, "labels": MANAGED_BY},
            "data": data,
            **extra,
        }
        try:
            await self._client.create(resource, body, self._namespace)
        except AlreadyExists:
            _log.info("%s %s was made by another at the same moment", resource.kind, name)


def _decoded(secret: Json) -> Mapping[str, bytes]:
    data: Mapping[str, str] = secret.get("data") or {}
    return {key: base64.b64decode(value) for key, value in data.items()}

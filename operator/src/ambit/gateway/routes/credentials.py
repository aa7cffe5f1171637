"""Provider keys, read from Secrets where their namespace has granted it; never logged, never written anywhere.

They are read again at least every minute, and sooner where they cannot be read yet: a grant, a new Secret or a replaced
key takes effect without a restart, and so does a withdrawn grant.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ambit.kube import ApiError, Forbidden, KubeClient, NotFound
from ambit.kube.resources import SECRETS
from ambit.policy import CredentialState, SecretKey

REREAD_S: Final = 30.0
REREAD_UNREADABLE_S: Final = 5.0
_log = logging.getLogger(__name__)


class Credentials:
    """The keys that the routes of the moment need."""

    def __init__(self, client: KubeClient, needed: Callable[[], set[SecretKey]], on_change: Callable[[], None]) -> None:
        self._client = client
        self._needed = needed
        self._on_change = on_change
        self._states: dict[SecretKey, CredentialState] = {}
        self.states: Mapping[SecretKey, CredentialState] = MappingProxyType(self._states)
        self._keys: dict[SecretKey, str] = {}
        self._look = asyncio.Event()
        self.read_once = False
        """Whether every Secret that was needed at first has been asked for."""

    def key(self, credential: SecretKey) -> str | None:
        """The key; None where it cannot be read."""
        return self._keys.get(credential)

    def look_again(self) -> None:
        """Reads all of them soon: routes changed, or a provider refused a key."""
        self._look.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            self._look.clear()
            await self._read_all()
            self.read_once = True
            all_readable = all(state is CredentialState.READABLE for state in self._states.values())
            try:
                async with asyncio.timeout(REREAD_S if all_readable else REREAD_UNREADABLE_S):
                    await self._look.wait()
                await asyncio.sleep(0.1)  # routes come in bursts, and a refused key is not asked for at every call
            except TimeoutError:
                continue

    async def _read_all(self) -> None:
        needed = self._needed()
        for gone in set(self._states) - needed:
            del self._states[gone]
            self._keys.pop(gone, None)
        for namespace, name in sorted({(credential.namespace, credential.name) for credential in needed}):
            wanted = {one for one in needed if (one.namespace, one.name) == (namespace, name)}
            try:
                secret = await self._client.get(SECRETS, name, namespace)
            except Forbidden:
                self._learn(wanted, CredentialState.FORBIDDEN, {})
            except NotFound:
                self._learn(wanted, CredentialState.SECRET_MISSING, {})
            except ApiError as error:
                # What is known stays: the apiserver's being away withdraws no grant.
                _log.warning("Secret %s/%s could not be read: %s", namespace, name, error.message)
            else:
                self._learn(wanted, CredentialState.READABLE, secret.get("data") or {})

    def _learn(self, wanted: set[SecretKey], state: CredentialState, data: Mapping[str, Any]) -> None:
        for credential in wanted:
            key = _decoded(data.get(credential.key)) if state is CredentialState.READABLE else None
            now = CredentialState.KEY_MISSING if state is CredentialState.READABLE and key is None else state
            if self._states.get(credential) is now and self._keys.get(credential) == key:
                continue
            self._states[credential] = now
            if key is None:
                self._keys.pop(credential, None)
            else:
                self._keys[credential] = key
            _log.info("credential %s/%s: %s", credential.namespace, credential.name, now.value)
            self._on_change()


def _decoded(value: Any) -> str | None:
    """The key without the line break that files end with; None where there is none or it cannot stand in a header."""
    if not isinstance(value, str):
        return None
    try:
        key = base64.b64decode(value, validate=True).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return key if key and key.isprintable() else None

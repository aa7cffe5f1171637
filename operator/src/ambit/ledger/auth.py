"""Who speaks with the ledger: a token is reviewed, its user is a component or nobody."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

CACHE_S = 60.0
"""How long a reviewed token is believed."""
CACHE_SIZE = 1024


class Authenticator(Protocol):
    """Says whose a token is. In a cluster: a TokenReview for the audience `ambit-ledger`."""

    async def authenticate(self, token: str) -> str | None:
        """The user name, or None where the token is not valid. Raises AuthenticationUnavailable."""
        ...


class AuthenticationUnavailable(Exception):
    """Nobody can say now whose the token is. Nothing is done for its bearer."""


class Components:
    """Maps tokens to components, believing each review for a minute."""

    def __init__(
        self, authenticator: Authenticator, components: Mapping[str, str], monotonic_s: Callable[[], float]
    ) -> None:
        self._authenticator = authenticator
        self._components = components
        self._monotonic_s = monotonic_s
        self._reviewed: dict[bytes, tuple[float, str | None]] = {}

    async def component_of(self, authorization: str | None) -> str | None:
        """The component of an Authorization header, or None. Raises AuthenticationUnavailable."""
        return (await self.checked(authorization))[0]

    async def checked(self, authorization: str | None) -> tuple[str | None, float]:
        """As `component_of`, and when the token was reviewed, in monotonic seconds."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None, self._monotonic_s()
        key = hashlib.sha256(token.encode()).digest()  # tokens themselves are not kept
        now_s = self._monotonic_s()
        known = self._reviewed.get(key)
        if known is not None and now_s - known[0] < CACHE_S:
            return known[1], known[0]
        user = await self._authenticator.authenticate(token)
        component = None if user is None else self._components.get(user)
        if len(self._reviewed) >= CACHE_SIZE:
            self._reviewed.clear()
        self._reviewed[key] = (now_s, component)
        return component, now_s

"""The sandboxes' identity: a JWT (EdDSA) for one session, minted by the operator, checked offline."""

from collections.abc import Callable
from typing import Any, Final

import jwt

from ambit.api.names import GATEWAY_AUDIENCE, SESSION_ACCOUNT, SESSION_TOKEN_ISSUER
from ambit.gateway import refusals
from ambit.gateway.identity.credentials import presented_token
from ambit.gateway.identity.session_directory import Session, SessionDirectory
from ambit.gateway.server.http import Request

MAX_VERIFIED: Final = 10_000


class SessionTokens:
    """Identifies the caller by its session token; wherever else a session is named in the request is ignored."""

    def __init__(self, public_key_pem: bytes, sessions: SessionDirectory, now_s: Callable[[], float]) -> None:
        self._key = public_key_pem
        self._sessions = sessions
        self._now_s = now_s
        self._verified: dict[str, tuple[str, float]] = {}

    async def identify(self, request: Request) -> Session:
        """Raises RefusedCall: 401 for a token that is missing, forged or expired; 402 for a session that has ended."""
        token = presented_token(request)
        if token is None:
            raise refusals.unauthenticated(
                "the request carries no session token; send the one in AMBIT_TOKEN as the API key"
            )
        return await self._sessions.find(self._subject(token))

    def _subject(self, token: str) -> str:
        known = self._verified.get(token)
        if known is not None and known[1] > self._now_s():
            return known[0]
        subject, expires_at_s = self._verify(token)
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = (subject, expires_at_s)
        return subject

    def _verify(self, token: str) -> tuple[str, float]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                audience=GATEWAY_AUDIENCE,
                issuer=SESSION_TOKEN_ISSUER,
                options={"require": ["exp", "iat", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise refusals.unauthenticated(f"the session token is not valid: {error}") from error
        subject, expires_at_s = claims["sub"], claims["exp"]
        parts = subject.split("/") if isinstance(subject, str) else []
        names_session = len(parts) == 3 and parts[0] == SESSION_ACCOUNT and all(parts)
        if not names_session or not isinstance(expires_at_s, int | float):
            raise refusals.unauthenticated("the session token names no session")
        if expires_at_s <= self._now_s():
            raise refusals.unauthenticated("the session token has expired")
        return subject, float(expires_at_s)

"""The isolate hosts' identity: a projected token for the pod, and a session that was placed there."""

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from ambit.api.names import GATEWAY_AUDIENCE, SESSION_HEADER, session_path
from ambit.gateway import refusals
from ambit.gateway.identity.credentials import bearer_token
from ambit.gateway.identity.session_directory import Session, SessionDirectory
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.server.http import Request
from ambit.kube import ApiError, Identity
from ambit.telemetry.reasons import Refusal

REVIEW_MAX_AGE_S: Final = 60.0
MAX_REVIEWS: Final = 10_000


class TokenReviewer(Protocol):
    """Who can say whose a token is: the apiserver."""

    async def token_review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None: ...


class IsolateHosts:
    """Identifies an isolate host, and accepts from it only sessions that the gateway placed on its pod."""

    def __init__(self, reviewer: TokenReviewer, sessions: SessionDirectory, clock: Callable[[], float]) -> None:
        self._reviewer = reviewer
        self._sessions = sessions
        self._clock = clock
        self._reviewed: dict[bytes, tuple[str | None, float]] = {}

    async def identify(self, request: Request) -> Session:
        """Raises RefusedCall: 401 without a good token, 403 for a session of another pod, 402 for an ended one."""
        token = bearer_token(request)
        pod_uid = await self._pod_uid(token) if token is not None else None
        if pod_uid is None:
            raise refusals.unauthenticated("the request carries no token of an isolate host's pod")
        named = request.header(SESSION_HEADER.encode())
        namespace, _, name = named.decode("latin-1").partition("/") if named is not None else ("", "", "")
        if not namespace or not name or "/" in name:
            raise refusals.unauthenticated(f"{SESSION_HEADER} names no session; write NAMESPACE/ID")
        session = await self._sessions.find(session_path(namespace, name))
        if session.host_pod != pod_uid:
            raise RefusedCall(403, Refusal.FORBIDDEN, "this session was not placed on this isolate host")
        return session

    async def _pod_uid(self, token: str) -> str | None:
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._reviewed.get(digest)
        if known is not None and known[1] > self._clock():
            return known[0]
        try:
            identity = await self._reviewer.token_review(token, (GATEWAY_AUDIENCE,))
        except ApiError as error:
            raise refusals.apiserver_away(
                "the apiserver does not answer, and the caller's token cannot be reviewed without it"
            ) from error
        pod_uid = identity.pod_uid if identity is not None else None
        if len(self._reviewed) >= MAX_REVIEWS:
            self._reviewed.pop(next(iter(self._reviewed)))
        self._reviewed[digest] = (pod_uid, self._clock() + REVIEW_MAX_AGE_S)
        return pod_uid

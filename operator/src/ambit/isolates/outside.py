"""All that a shard reaches: the code of its own sessions, and through us the gateway, as one of those sessions.

The shard is trusted with no more than it has to be: it may name only sessions that run on it now, and their code; our
token is added here and never enters it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from ambit.api.names import GATEWAY_HOST, REASON_HEADER, SESSION_HEADER
from ambit.isolates.code import CodeStore
from ambit.isolates.headers import TRACE_CONTEXT, break_off, end_to_end, from_agent
from ambit.isolates.sessions import Session, Sessions
from ambit.isolates.shard import Shard
from ambit.telemetry import metrics
from ambit.telemetry.reasons import EgressRefusal

log = logging.getLogger(__name__)

REQUESTS_PER_SESSION = 64
TOKEN_REREAD_S = 10.0
LOAD_DEADLINE_S = 1.0
"""How long one agent's load keeps the next one waiting, at most."""


class ProjectedToken:
    """The pod's own token, read again every ten seconds: the kubelet replaces it long before it expires."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._read_at = float("-inf")
        self._token = ""

    def __call__(self) -> str:
        """Raises OSError."""
        now = self._clock()
        if now - self._read_at > TOKEN_REREAD_S:
            self._token = self._file.read_text().strip()
            self._read_at = now
        return self._token


class Outside:
    """Makes for each shard the application behind its `out.sock`."""

    def __init__(self, code: CodeStore, gateway_url: str, token: Callable[[], str]) -> None:
        self._code = code
        self._gateway = URL(gateway_url)
        self._token = token
        self._client: aiohttp.ClientSession | None = None
        self.sessions: Sessions | None = None
        """Set once, before the first shard starts (the sessions need the shards, and the shards us)."""

    async def __aenter__(self) -> "Outside":
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    def __call__(self, shard: Shard) -> web.Application:
        async def code(request: web.Request) -> web.StreamResponse:
            return await self._hand_out_code(shard, request)

        async def loaded(request: web.Request) -> web.StreamResponse:
            session = self._session(shard, request)
            if session is not None:
                session.loaded.set()
            return web.Response(status=HTTPStatus.NO_CONTENT)

        async def egress(request: web.Request) -> web.StreamResponse:
            return await self._pass_on(shard, request)

        app = web.Application()
        app.router.add_get("/code", code)
        app.router.add_post("/loaded", loaded)
        app.router.add_route("*", "/egress", egress)
        return app

    def _session(self, shard: Shard, request: web.Request) -> Session | None:
        assert self.sessions is not None
        named = request.headers.getall(SESSION_HEADER, [])
        return self.sessions.on(shard, named[0]) if len(named) == 1 else None

    async def _hand_out_code(self, shard: Shard, request: web.Request) -> web.StreamResponse:
        session = self._session(shard, request)
        raw = self._code.get(session.code_sha256) if session is not None else None
        if session is None or raw is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        response = web.Response(body=raw, content_type="application/json")
        async with shard.loading:
            await response.prepare(request)
            await response.write_eof()
            with suppress(TimeoutError):
                await asyncio.wait_for(session.loaded.wait(), LOAD_DEADLINE_S)
        return response

    async def _pass_on(self, shard: Shard, request: web.Request) -> web.StreamResponse:
        session = self._session(shard, request)
        if session is None:
            return _refused(HTTPStatus.FORBIDDEN, EgressRefusal.UNKNOWN_SESSION, "no such session runs on this shard")
        if len(session.requests) >= REQUESTS_PER_SESSION:
            return _refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                EgressRefusal.TOO_MANY_REQUESTS,
                f"the session has {REQUESTS_PER_SESSION} requests under way, as many as it may",
            )
        task = asyncio.current_task()
        assert task is not None
        session.requests.add(task)
        try:
            return await self._forward(session, request)
        finally:
            session.requests.discard(task)

    async def _forward(self, session: Session, request: web.Request) -> web.StreamResponse:
        assert self._client is not None
        try:
            target = URL(request.headers["x-ambit-target"], encoded=True)
            url, proxy = route(target, self._gateway)
        except (KeyError, ValueError) as error:
            return _refused(HTTPStatus.BAD_REQUEST, EgressRefusal.MALFORMED, f"no address to go to: {error}")
        headers = from_agent(request.headers)
        headers[SESSION_HEADER] = session.path
        if TRACE_CONTEXT[0] not in headers:  # an agent that traces itself says better what it is doing
            headers.update(session.trace)
        response: web.StreamResponse | None = None
        try:
            headers["authorization"] = f"Bearer {self._token()}"
            async with self._client.request(
                request.method,
                url,
                proxy=proxy,
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError) as error:
            log.warning("the gateway broke off", extra={"fields": {"session": session.path, "error": repr(error)}})
            if response is not None:
                break_off(request)
                return response
            message = "the gateway could not be reached"
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, EgressRefusal.GATEWAY_UNAVAILABLE, message)


def route(target: URL, gateway: URL) -> tuple[URL, URL | None]:
    """Where a request for `target` goes, and by which proxy. Only ever to the gateway.

    What is meant for another host goes there in absolute form, as to a proxy: the gateway answers it, and counts it.
    Raises ValueError where `target` is no address.
    """
    if target.host is None or target.port is None:
        raise ValueError(f"{str(target)!r} names no host")
    ours = (target.scheme, target.host, target.port) == ("http", GATEWAY_HOST, 80)
    to = gateway if ours else target
    # Built from its parts, so that a path such as `//elsewhere/` can be nothing but a path.
    url = URL.build(
        scheme=gateway.scheme if ours else "http",
        authority=f"{to.host_subcomponent}:{to.port}",
        path=target.raw_path,
        query_string=target.raw_query_string,
        encoded=True,
    )
    return url, None if ours else gateway


def _refused(status: HTTPStatus, reason: EgressRefusal, message: str) -> web.Response:
    metrics.ISOLATE_EGRESS_REFUSED.labels(reason).inc()
    return web.json_response({"reason": reason, "message": message}, status=status, headers={REASON_HEADER: reason})

"""The host's API for the gateway: code in, sessions opened, streamed, ended."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp import web

from ambit.api.names import CODE_HEADER, HOST_ERROR_HEADER, RUNTIME_HEADER, SESSION_HEADER
from ambit.isolates.code import MAX_BUNDLE_BYTES, CodeRefused, CodeStore
from ambit.isolates.headers import break_off, end_to_end, trace_context
from ambit.isolates.identity import GatewayIdentity, Unauthenticated
from ambit.isolates.sessions import RUNTIME_GRACE_S, HostRefusal, Session, Sessions
from ambit.isolates.shard import ShardBrokeOff
from ambit.telemetry import metrics
from ambit.telemetry.reasons import HostError, SessionEnd

log = logging.getLogger(__name__)

SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""Namespaces' and sessions' names (RFC 1123)."""
MILLISECONDS = re.compile(r"[1-9][0-9]{0,9}")
"""What is held of a session's runtime, counted from the request that opened it."""
STATUS = {
    HostError.CODE_MISSING: HTTPStatus.CONFLICT,
    HostError.CODE_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    HostError.SESSION_EXISTS: HTTPStatus.CONFLICT,
    HostError.FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    HostError.INPUT_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HostError.SHARD_DIED: HTTPStatus.BAD_GATEWAY,
    HostError.AGENT_FAILED: HTTPStatus.BAD_GATEWAY,
    HostError.KILLED: HTTPStatus.BAD_GATEWAY,
    HostError.RUNTIME_EXHAUSTED: HTTPStatus.BAD_GATEWAY,
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Ingress:
    """Handlers of the listener on 8082."""

    def __init__(self, identity: GatewayIdentity, code: CodeStore, sessions: Sessions, input_bytes: int) -> None:
        self._identity = identity
        self._code = code
        self._sessions = sessions
        self._input_bytes = input_bytes

    def application(self) -> web.Application:
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self._identity.check(request.headers.get("authorization"))
            except Unauthenticated as error:
                log.warning("a request refused", extra={"fields": {"from": request.remote, "why": str(error)}})
                return _json(HTTPStatus.UNAUTHORIZED, {"reason": "Unauthenticated", "message": "only the gateway may"})
            try:
                return await handler(request)
            except HostRefusal as refusal:
                return _refused(refusal)

        app = web.Application(middlewares=[guarded], client_max_size=max(MAX_BUNDLE_BYTES, self._input_bytes))
        session = "/v1/sessions/{namespace}/{id}"
        app.router.add_put("/v1/code/{sha256}", self._put_code)
        app.router.add_get("/v1/sessions", self._list)
        app.router.add_post(session, self._open)
        app.router.add_get(session, self._get)
        app.router.add_delete(session, self._delete)
        app.router.add_put(session + "/place", self._take_place)
        app.router.add_put(session + "/runtime", self._renew)
        return app

    async def _put_code(self, request: web.Request) -> web.StreamResponse:
        try:
            self._code.put(_matching(SHA256, request.match_info["sha256"]), await request.read())
        except web.HTTPRequestEntityTooLarge as error:
            raise HostRefusal(HostError.CODE_REFUSED, f"{MAX_BUNDLE_BYTES} bytes of code are the most") from error
        except CodeRefused as error:
            raise HostRefusal(HostError.CODE_REFUSED, str(error)) from error
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _list(self, _: web.Request) -> web.StreamResponse:
        return _json(HTTPStatus.OK, {"sessions": self._sessions.paths()})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        state = self._sessions.state(_path(request))
        if state is None:
            return _json(HTTPStatus.NOT_FOUND, {"reason": "NotFound", "message": "no such session was here lately"})
        return _json(HTTPStatus.OK, state)

    async def _take_place(self, request: web.Request) -> web.StreamResponse:
        try:
            self._sessions.take_place(_path(request), asyncio.get_running_loop().time())
        except HostRefusal as refusal:
            metrics.ISOLATE_OPENS.labels(refusal.reason).inc()
            raise
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _renew(self, request: web.Request) -> web.StreamResponse:
        session = self._sessions.running(_path(request))
        if session is None or not session.renew(_until_s(request, session.asked_s)):
            return _json(HTTPStatus.NOT_FOUND, {"reason": "NotFound", "message": "no such session is running here"})
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        path = _path(request)
        self._sessions.leave_place(path)
        session = self._sessions.running(path)
        if session is not None:
            await self._sessions.close(session, HostError.KILLED, "the gateway ended it")
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _open(self, request: web.Request) -> web.StreamResponse:
        asked_at = time.monotonic()
        asked_s = asyncio.get_running_loop().time()
        path = _path(request)
        until_s = _until_s(request, asked_s)
        code_sha256 = _matching(SHA256, request.headers.get(CODE_HEADER, ""))
        try:
            if self._code.get(code_sha256) is None:
                raise HostRefusal(HostError.CODE_MISSING, f"this host does not have the code {code_sha256}")
            session_input = await self._read_input(request)
            session = await self._sessions.open(path, code_sha256, asked_s)
            session.trace = trace_context(request.headers)
        except HostRefusal as refusal:
            metrics.ISOLATE_OPENS.labels(refusal.reason).inc()
            raise
        metrics.ISOLATE_OPENS.labels("Opened").inc()
        try:
            return await self._run(request, session, session_input, asked_at, until_s)
        finally:
            # Reached with the session still open only if the gateway went away (this task was cancelled).
            self._sessions.close(session, HostError.KILLED, "the gateway went away")

    async def _read_input(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self._input_bytes:
                raise HostRefusal(HostError.INPUT_TOO_LARGE, f"{self._input_bytes} bytes of input are the most")
        return bytes(body)

    async def _run(
        self, request: web.Request, session: Session, session_input: bytes, asked_at: float, until_s: float
    ) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        headers = {SESSION_HEADER: session.path, CODE_HEADER: session.code_sha256}
        headers["content-type"] = request.headers.get("content-type", "text/plain;charset=utf-8")
        try:
            async with session.within(until_s), session.shard.ask("POST", headers, session_input) as answer:
                if HOST_ERROR_HEADER in answer.headers:
                    failure = msgspec.json.decode(await _all(answer), type=_Failure)
                    raise HostRefusal(HostError.AGENT_FAILED, failure.message)
                response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
                await response.prepare(request)
                async for chunk in _chunks(answer):
                    if asked_at:
                        metrics.ISOLATE_OPEN_SECONDS.observe(time.monotonic() - asked_at)
                        asked_at = 0
                    await response.write(chunk)
        except (ShardBrokeOff, HostRefusal) as error:
            failure = await self._failure(session, error)
            if response is None:
                raise failure from error
            break_off(request)
            return response
        self._sessions.close(session, SessionEnd.COMPLETED)
        await response.write_eof()
        return response

    async def _failure(self, session: Session, error: ShardBrokeOff | HostRefusal) -> HostRefusal:
        """Why the session ended early, and ends it for that reason."""
        if session.ending is not None:
            failure = HostRefusal(HostError.KILLED, "the gateway ended it")
        elif isinstance(error, HostRefusal):
            failure = error
        elif await session.shard.answers():
            failure = HostRefusal(HostError.AGENT_FAILED, "the agent broke off its answer")
        else:
            failure = HostRefusal(
                HostError.SHARD_DIED,
                f"the process in which the agent ran has ended ({session.shard.end}); "
                "any of the sessions that ran in it may have been the cause",
            )
        self._sessions.close(session, failure.reason, failure.message)
        return failure


class _Failure(msgspec.Struct):
    """How the host worker says that the agent failed."""

    message: str


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Raises ShardBrokeOff; what goes wrong in writing to the gateway is not among it."""
    while True:
        try:
            chunk = await answer.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ShardBrokeOff(repr(error)) from error
        if not chunk:
            return
        yield chunk


async def _all(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk in _chunks(answer)])


def _path(request: web.Request) -> str:
    return f"{_matching(NAME, request.match_info['namespace'])}/{_matching(NAME, request.match_info['id'])}"


def _until_s(request: web.Request, asked_s: float) -> float:
    """When a session has to have ended, by the event loop's clock."""
    return asked_s + int(_matching(MILLISECONDS, request.headers.get(RUNTIME_HEADER, ""))) / 1000 + RUNTIME_GRACE_S


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise web.HTTPBadRequest(text=f"{text!r} does not match {pattern.pattern}")
    return text


def _refused(refusal: HostRefusal) -> web.Response:
    body = {"reason": refusal.reason, "message": refusal.message}
    return _json(STATUS[refusal.reason], body, {HOST_ERROR_HEADER: refusal.reason})


def _json(status: HTTPStatus, body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)

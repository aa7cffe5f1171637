"""The endpoints for people and services (docs/design/0001-interfaces.md, "People: 8443")."""

import asyncio
import codecs
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ambit.api.base import ObjectKey
from ambit.api.common import BoundsOverride
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.sessions import refusals, views
from ambit.gateway.sessions.opening import Request
from ambit.gateway.sessions.people import People, by_certificate, nobody
from ambit.gateway.sessions.run import Ending, Run
from ambit.gateway.sessions.service import SessionService
from ambit.kube import Identity
from ambit.ledger import wire
from ambit.telemetry import metrics, tracing
from ambit.telemetry.reasons import Refusal, SessionEnd
from ambit.telemetry.tracing import Attribute, SpanName

HEARTBEAT_S: Final = 15.0
MAX_BODY_BYTES: Final = 8 << 20
"""A host takes an input of 1 MiB; JSON may escape each of its bytes by six."""

_log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Opening(msgspec.Struct, forbid_unknown_fields=True):
    input: str = ""
    bounds: dict[str, Any] | None = None
    user: wire.User = ""
    labels: wire.Labels = {}


class Endpoints:
    """Handlers of the listener on 8443."""

    def __init__(self, people: People, service: SessionService) -> None:
        self._people = people
        self._service = service

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[_refusing], client_max_size=MAX_BODY_BYTES)
        sessions = "/v1/namespaces/{namespace}/sessions"
        app.router.add_post("/v1/namespaces/{namespace}/agents/{agent}/sessions", self.open, name="open")
        app.router.add_get(sessions, self.list, name="list")
        app.router.add_get(sessions + "/{session}", self.get, name="get")
        app.router.add_delete(sessions + "/{session}", self.kill, name="kill")
        return app

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Opens a session and streams it."""
        agent = ObjectKey(request.match_info["namespace"], request.match_info["agent"])
        identity = await self._identify(request)
        await self._people.check(identity, "create", agent.namespace, agent.name)
        asked = _opening(agent, await request.read())
        # Not cancelled half-way when the caller goes: what was begun is either finished and ended, or refused.
        with tracing.accept(SpanName.SESSION_OPEN, request.raw_headers) as span:
            span.set(Attribute.AGENT, str(agent))
            opening = asyncio.create_task(self._service.open(asked, identity))
            try:
                run, ending = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_abandon)
                raise
            span.set(Attribute.SESSION, run.path)
            span.set(Attribute.ENVIRONMENT, run.environment)
        try:
            return await _stream(request, run, ending)
        except (asyncio.CancelledError, ConnectionError):
            run.stop(SessionEnd.KILLED, "its caller went away")
            raise

    async def list(self, request: web.Request) -> web.StreamResponse:
        """All sessions of a namespace."""
        namespace = request.match_info["namespace"]
        identity = await self._identify(request)
        await self._people.check(identity, "list", namespace, "")
        found = await self._service.list(namespace)
        return web.json_response({"sessions": [views.session(usage) for usage in found]})

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One session."""
        found = await self._find(request, "get", await self._identify(request))
        return web.json_response(views.session(found))

    async def kill(self, request: web.Request) -> web.StreamResponse:
        """Kills a session; answers when nothing of it is left running."""
        identity = await self._identify(request)
        found = await self._find(request, "delete", identity)
        killed = await asyncio.shield(self._service.kill(found, identity.username))
        return web.json_response(views.session(killed))

    async def _find(self, request: web.Request, verb: str, identity: Identity) -> wire.Usage:
        namespace, session = request.match_info["namespace"], request.match_info["session"]
        found = await self._service.find(namespace, session)
        # Asked even where there is nothing: who may not look is not told what there is.
        await self._people.check(identity, verb, namespace, "" if found is None else views.agent_of(found))
        if found is None:
            raise refusals.refused(
                Refusal.NOT_FOUND,
                f"there is no session {namespace}/{session}: `ambit sessions {namespace}` lists them",
            )
        return found

    async def _identify(self, request: web.Request) -> Identity:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._people.by_token(token.strip())
        tls = request.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if certificate is None:
            raise nobody()
        return by_certificate(certificate, datetime.now(UTC))


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    call = request.match_info.route.name or "unknown"
    try:
        response = await handler(request)
    except RefusedCall as refusal:
        metrics.PEOPLE_REQUESTS.labels(call, str(refusal.status), refusal.reason.value).inc()
        return _refusal(refusal)
    except web.HTTPException as error:
        refusal = _of_http(error)
        metrics.PEOPLE_REQUESTS.labels(call, str(error.status), refusal.reason.value).inc()
        response = _refusal(refusal)
        response.set_status(error.status)
        return response
    metrics.PEOPLE_REQUESTS.labels(call, str(response.status), "").inc()
    return response


def _refusal(refusal: RefusedCall) -> web.Response:
    return web.json_response(refusals.body(refusal), status=refusal.status, headers=refusals.headers(refusal))


def _of_http(error: web.HTTPException) -> RefusedCall:
    """What the HTTP layer itself refuses: unknown paths and methods, bodies that are too large."""
    match error.status:
        case 404:
            return refusals.refused(
                Refusal.NOT_FOUND, "there is no such path; sessions are under /v1/namespaces/NAMESPACE/"
            )
        case 413:
            return refusals.refused(Refusal.TOO_LARGE, f"the request's body is larger than {MAX_BODY_BYTES} bytes")
        case _:
            return refusals.refused(Refusal.MALFORMED, error.reason)


def _opening(agent: ObjectKey, body: bytes) -> Request:
    """What is asked for. Raises RefusedCall."""
    try:
        opening = msgspec.json.decode(body, type=_Opening) if body.strip() else _Opening()
        bounds = None if opening.bounds is None else BoundsOverride.model_validate(opening.bounds)
    except msgspec.DecodeError as error:
        raise refusals.refused(
            Refusal.MALFORMED, f'the body has to be JSON such as {{"input": "…"}}: {error}'
        ) from error
    except ValidationError as error:
        problems = "; ".join(_problem(found) for found in error.errors())
        raise refusals.refused(Refusal.MALFORMED, f"bounds: {problems}") from error
    return Request(agent, opening.input, bounds, opening.user, opening.labels)


def _problem(found: ErrorDetails) -> str:
    """One mistake in `bounds`, in our words where we have some."""
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        known = (field.alias or name for name, field in BoundsOverride.model_fields.items())
        return f"there is no bound {name!r}: write one of {', '.join(known)}"
    # What a validator of ours raised is without pydantic's "Value error, " here.
    return f"{name}: {found.get('ctx', {}).get('error', found['msg'])}"


def _abandon(opening: "asyncio.Task[tuple[Run, asyncio.Task[Ending]]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].stop(SessionEnd.KILLED, "its caller went away")


async def _stream(request: web.Request, run: Run, ending: "asyncio.Task[Ending]") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    await response.write(views.opened(run))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    reading = asyncio.create_task(run.read())
    try:
        while not ending.done():
            await asyncio.wait({reading, ending}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await _write_output(response, decoder.decode(reading.result()))
                reading = asyncio.create_task(run.read())
            elif not ending.done():
                await response.write(views.HEARTBEAT)
        if reading.done():
            await _write_output(response, decoder.decode(reading.result()))
        while (rest := run.read_nowait()) is not None:
            await _write_output(response, decoder.decode(rest))
        await _write_output(response, decoder.decode(b"", final=True))
    finally:
        reading.cancel()
    await response.write(views.ended(await ending))
    await response.write_eof()
    return response


async def _write_output(response: web.StreamResponse, text: str) -> None:
    if text:
        await response.write(views.output(text))

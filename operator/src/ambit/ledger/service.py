"""The ledger over HTTP: `POST /v1/ops`, `GET /v1/events`."""

from asyncio import BaseTransport
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn
from weakref import WeakKeyDictionary

from aiohttp import web

from ambit.ledger.auth import CACHE_S, AuthenticationUnavailable, Components
from ambit.ledger.dispatch import NEWEST_VERSION, Dispatcher, NotABatch
from ambit.ledger.events import Events
from ambit.ledger.writer import LedgerStopped
from ambit.telemetry import tracing
from ambit.telemetry.tracing import SpanName

MAX_BODY_BYTES = 8 * 1024 * 1024
EVENT_SILENCE_MS = 5_000
"""How long a listener hears nothing at most, unless it asks for another `silenceMs`."""
MAX_EVENT_SILENCE_MS = 60_000
VERSION_HEADER = "x-ambit-ledger-version"


class Service:
    """Takes operations to the dispatcher and its answers back, for components that are who they say.

    `events` gives the events of the moment, None while this ledger is not the writer.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        events: Callable[[], Events | None],
        components: Components,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._events = events
        self._components = components
        self._monotonic_s = monotonic_s
        self._connections: WeakKeyDictionary[BaseTransport, tuple[str | None, float, str]] = WeakKeyDictionary()
        """By connection: the Authorization header that was checked, when, and whose it is."""

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.post("/v1/ops", self._ops), web.get("/v1/events", self._listen)])
        return app

    def dispatcher_of(self, request: web.Request) -> Dispatcher:
        """Who answers a batch. Raises what aiohttp answers with, where nobody does here."""
        return self._dispatcher

    def events_for(self, request: web.Request) -> Events:
        """What a listener is told. Raises likewise."""
        events = self._events()
        if events is None or not events.is_writer():
            refuse(web.HTTPServiceUnavailable, "this ledger is not the writer, or waits for its journal to say so")
        return events

    async def _ops(self, request: web.Request) -> web.Response:
        component = await self.component_of(request)
        version = request.headers.get(VERSION_HEADER, "1")
        try:
            with tracing.answer(SpanName.LEDGER_BATCH, request.headers):
                body = await self.dispatcher_of(request).answer(component, await request.read(), _number(version))
        except NotABatch as error:
            refuse(web.HTTPBadRequest, str(error))
        except LedgerStopped as error:
            refuse(web.HTTPServiceUnavailable, str(error))
        headers = {VERSION_HEADER: str(NEWEST_VERSION)}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        await self.component_of(request)
        events = self.events_for(request)
        silence_ms = request.query.get("silenceMs", str(EVENT_SILENCE_MS))
        if not silence_ms.isdecimal() or not 1 <= int(silence_ms) <= MAX_EVENT_SILENCE_MS:
            refuse(web.HTTPBadRequest, f"silenceMs is {silence_ms!r}: write 1 to {MAX_EVENT_SILENCE_MS}")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # who listened has gone: nothing is owed to it
            async for frame in events.listen(request.headers.get("Last-Event-ID"), int(silence_ms) / 1000):
                await response.write(frame)
        return response

    async def component_of(self, request: web.Request) -> str:
        """Who asks. Raises what aiohttp answers with, where that is nobody."""
        authorization = request.headers.get("Authorization")
        connection = request.transport
        now_s = self._monotonic_s()
        known = None if connection is None else self._connections.get(connection)
        if known is not None and known[0] == authorization and now_s - known[1] < CACHE_S:
            return known[2]
        try:
            component, checked_s = await self._components.checked(authorization)
        except AuthenticationUnavailable as error:
            refuse(web.HTTPServiceUnavailable, f"the token cannot be reviewed: {error}")
        if component is None:
            refuse(web.HTTPUnauthorized, "a bearer token of a known component, audience ambit-ledger, is needed")
        if connection is not None:
            self._connections[connection] = (authorization, checked_s, component)
        return component


def _number(version: str) -> int:
    if not version.isdecimal():
        raise NotABatch(f"{VERSION_HEADER}: {version!r} is no version; write {NEWEST_VERSION}")
    return int(version)


def refuse(status: Callable[..., web.HTTPException], message: str) -> NoReturn:
    """Answers with a status and a sentence."""
    raise status(text=message + "\n")

"""The ledger over HTTP: `POST /v1/ops`, `GET /v1/events`."""

from collections.abc import Callable
from typing import NoReturn

import msgspec
from aiohttp import web

from ambit.ledger import wire
from ambit.ledger.amounts import RESOURCES
from ambit.ledger.auth import AuthenticationUnavailable, Components
from ambit.ledger.events import Events
from ambit.ledger.writer import LedgerStopped, Writer
from ambit.telemetry import metrics

MAX_BODY_BYTES = 8 * 1024 * 1024
EVENT_SILENCE_S = 5.0
_batch = msgspec.json.Decoder(wire.Batch)
_operation = msgspec.json.Decoder(wire.AnyOperation)


class Service:
    """Takes operations to the writer and its answers back, for components that are who they say."""

    def __init__(self, writer: Writer, events: Events, components: Components) -> None:
        self._writer = writer
        self._events = events
        self._components = components

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.post("/v1/ops", self._ops), web.get("/v1/events", self._listen)])
        return app

    async def _ops(self, request: web.Request) -> web.Response:
        component = await self._component(request)
        try:
            raw = _batch.decode(await request.read()).ops
        except msgspec.MsgspecError as error:
            _refuse(web.HTTPBadRequest, f"the body is no batch of operations: {error}")
        decoded = [_decode(each) for each in raw]
        ops = [each for each in decoded if not isinstance(each, wire.Invalid)]
        try:
            answers = iter(await self._writer.apply(component, ops))
        except LedgerStopped as error:
            _refuse(web.HTTPServiceUnavailable, str(error))
        results = [each if isinstance(each, wire.Invalid) else next(answers) for each in decoded]
        for op, result in zip(decoded, results, strict=True):
            _count(component, op, result)
        return web.Response(body=msgspec.json.encode(wire.Results(results)), content_type="application/json")

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        await self._component(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        async for frame in self._events.listen(request.headers.get("Last-Event-ID"), EVENT_SILENCE_S):
            await response.write(frame)
        return response

    async def _component(self, request: web.Request) -> str:
        try:
            component = await self._components.component_of(request.headers.get("Authorization"))
        except AuthenticationUnavailable as error:
            _refuse(web.HTTPServiceUnavailable, f"the token cannot be reviewed: {error}")
        if component is None:
            _refuse(web.HTTPUnauthorized, "a bearer token of a known component, audience ambit-ledger, is needed")
        return component


def _decode(raw: msgspec.Raw) -> wire.AnyOperation | wire.Invalid:
    try:
        return _operation.decode(raw)
    except msgspec.MsgspecError as error:
        return wire.Invalid(str(error))


def _count(component: str, op: wire.AnyOperation | wire.Invalid, result: wire.AnyResult) -> None:
    name = "unreadable" if isinstance(op, wire.Invalid) else str(type(op).__struct_config__.tag)
    metrics.LEDGER_OPERATIONS.labels(component, name, type(result).__name__).inc()
    if isinstance(result, wire.Settled):
        for resource, amount in zip(RESOURCES, result.overrun.vector(), strict=True):
            if amount:
                metrics.LEDGER_OVERRUNS.labels(resource).inc()
    if isinstance(result, wire.Denial):
        metrics.LEDGER_REFUSALS.labels(
            type(result).__name__,
            result.reason,
            result.account.partition("/")[0],
            result.window or "",
            result.resource or "",
        ).inc()


def _refuse(status: Callable[..., web.HTTPException], message: str) -> NoReturn:
    raise status(text=message + "\n")

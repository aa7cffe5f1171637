"""One model call, from its identity to its settlement: one backend after the other, until one answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ambit.api.model_route import FallbackCause
from ambit.gateway import refusals, spans
from ambit.gateway.accounting import Accounting, count
from ambit.gateway.admission import ClientGone
from ambit.gateway.admitting import Admitting
from ambit.gateway.attempts.attempts import Attempt, Attempts, priced
from ambit.gateway.attempts.backends import Backends
from ambit.gateway.call_holds import HeldCall
from ambit.gateway.forwarded import forwarded
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.live_calls import LiveCall, LiveCalls
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.wire_format import Call, RefusedCall, WireFormat
from ambit.gateway.relay import CutCause, Ending, Relay, Relayed
from ambit.gateway.routes.allowed_models import AllowedModels
from ambit.gateway.routes.world import World
from ambit.gateway.server.connection import Exchange
from ambit.gateway.server.http import Request
from ambit.gateway.server.upstream import Origin, Unreachable, UpstreamPool
from ambit.policy import RouteBinding
from ambit.telemetry import metrics, tracing
from ambit.telemetry.reasons import Refusal
from ambit.telemetry.tracing import Attribute, Kind, SpanEvent, SpanName

DRAIN_S: Final = 10.0
"""How long a call goes on after its client has gone, to learn what it used."""
_BREAKS: Final = {Ending.BROKEN_OFF: FallbackCause.UNAVAILABLE, Ending.SILENT: FallbackCause.TIMEOUT}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stays the same over all attempts of a call."""

    wire: WireFormat
    request: Request
    call: Call
    session: Session
    exchange: Exchange
    live: LiveCall
    attempts: Attempts
    received_at_s: float


class Calls:
    """Serves model calls: choose a backend, hold, forward, meter, settle."""

    def __init__(
        self,
        *,
        world: World,
        models: AllowedModels,
        admitting: Admitting,
        live: LiveCalls,
        upstream: UpstreamPool,
        backends: Backends,
        draw: Callable[[], float],
        silence_s: float,
        room_s: float,
    ) -> None:
        self._world = world
        self._models = models
        self._holds = admitting.calls
        self._settlements = admitting.settlements
        self._ahead = admitting.ahead
        self._warnings = admitting.warnings
        self._accounting = Accounting(world, admitting.settlements)
        self._live = live
        self._upstream = upstream
        self._backends = backends
        self._draw = draw
        self._silence_s = silence_s
        self._room_s = room_s

    async def serve(self, wire: WireFormat, request: Request, session: Session, exchange: Exchange) -> None:
        """Answers one call. Raises RefusedCall as long as nothing has been answered."""
        with tracing.accept(SpanName.MODEL_CALL, request.headers, Kind.CLIENT) as span:
            spans.of_session(span, session)
            await self._serve(wire, request, session, exchange)

    async def _serve(self, wire: WireFormat, request: Request, session: Session, exchange: Exchange) -> None:
        received_at_s = asyncio.get_running_loop().time()
        call = wire.parse(request)
        model = priced(call, await self._models.bind(session, call.model, wire.provider))
        attempts = Attempts(self._backends, model, self._draw)
        try:
            with self._live.entered(session.path) as live:
                asked = _Asked(wire, request, call, session, exchange, live, attempts, received_at_s)
                while not await self._attempt(asked, attempts.next()):
                    pass
        except ClientGone:
            exchange.abort()
            count(model.backends[0], "ClientGone")
            tracing.current().fail("ClientGone")

    async def _attempt(self, asked: _Asked, attempt: Attempt) -> bool:
        """Holds, sends, relays and accounts for one attempt. False: the client has been told nothing, and another
        backend is to be chosen. Raises RefusedCall and ClientGone.
        """
        session, attempts, route = asked.session, asked.attempts, attempt.route
        spans.of_call(tracing.current(), asked.call, route)
        try:
            held = await self._holds.take(session, asked.call, route, asked.exchange.gone, counted=attempts.counted)
        except RefusedCall as refused:
            raise attempts.without_room(refused) from refused
        if not attempts.has_failed:
            metrics.GATEWAY_ADMISSION_SECONDS.observe(asyncio.get_running_loop().time() - asked.received_at_s)
        tracing.current().set(Attribute.REQUEST_MAX_TOKENS, held.output_tokens)
        relay = self._relay(asked, attempt)
        asked.live.relayed_by(relay)
        held.follow(relay)
        try:
            with metrics.GATEWAY_HOLDS.track_inprogress():
                relayed = await self._placed(asked, attempt, held, relay)
        finally:
            held.stop()
        if relayed is None:
            return False
        return self._ended(asked, attempt, held, relay, relayed)

    def _ended(self, asked: _Asked, attempt: Attempt, held: HeldCall, relay: Relay, relayed: Relayed) -> bool:
        """Accounts for an attempt; False: another follows."""
        session, attempts, route = asked.session, asked.attempts, attempt.route
        goes_on = relayed.ending is Ending.WITHHELD
        if relayed.ending in _BREAKS:
            goes_on = attempt.broke(_BREAKS[relayed.ending], answering=relayed.answered)
        elif relayed.ending is Ending.COMPLETED:
            attempt.completed()
        elif not goes_on:
            attempt.abandoned()
        self._accounting.ended(session, asked.call, attempts, route, held, relayed, goes_on=goes_on)
        if goes_on:
            self._goes_on(attempt, str(relayed.status) if relayed.status is not None else relayed.message)
            return False
        held.learn(relayed, relay.cut_cause)
        self._ahead.ended(session.path, session.parent)
        if not relayed.answered:
            raise _unanswered(attempts, route, session, relayed, relay.cut_cause)
        return True

    def _goes_on(self, attempt: Attempt, became: str) -> None:
        tracing.current().note(SpanEvent.FELL_BACK)
        attempt.gave_up(became)

    def _relay(self, asked: _Asked, attempt: Attempt) -> Relay:
        call, wire, first_byte_ms = asked.call, asked.wire, attempt.route.first_byte_ms
        return Relay(
            asked.exchange,
            lambda event_stream: wire.meter(call, event_stream),
            lambda: JsonMeter(lambda _: None),
            lambda: self._warnings.take(asked.session.path),
            withhold=attempt.on_head,
            first_byte_s=self._silence_s if first_byte_ms is None else first_byte_ms / 1000,
            silence_s=self._silence_s,
            drain_s=DRAIN_S,
        )

    async def _placed(self, asked: _Asked, attempt: Attempt, held: HeldCall, relay: Relay) -> Relayed | None:
        """Forwards the call once it has a place among those under way at the backend. None: another backend is to be
        chosen, and the hold is released.
        """
        route = attempt.route
        place = self._backends.enter(route)
        if place is not None:
            await self._wait_for(place, asked, route, held, relay)
        try:
            if not self._backends.known((route,))[route.backend].takes_calls:
                self._settlements.release(held.hold.id, "the call was not sent: its backend went out meanwhile")
                return None
            with tracing.part(SpanName.UPSTREAM, Kind.CLIENT):
                tracing.current().set(Attribute.ATTEMPT, asked.attempts.number)
                return await self._forward(asked, attempt, held, relay)
        finally:
            self._backends.leave(route)

    async def _wait_for(
        self, place: asyncio.Future[None], asked: _Asked, route: RouteBinding, held: HeldCall, relay: Relay
    ) -> None:
        """Returns with the place taken. Raises RefusedCall and ClientGone, the hold released."""
        waits, gone = metrics.GATEWAY_BACKEND_WAITS.labels, asked.exchange.gone
        try:
            await asyncio.wait((place, relay.done, gone), timeout=self._room_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not place.done():
                place.cancel()
        if not place.cancelled():
            waits(str(route.route), route.backend, "Admitted").inc()
            return
        ended = relay.done.done() or gone.done()
        waits(str(route.route), route.backend, "Ended" if ended else "Full").inc()
        self._settlements.release(held.hold.id, "the call was not sent: its backend had no room for it")
        raise self._not_sent(asked, route, relay) if ended else asked.attempts.full(route, self._room_s)

    async def _forward(self, asked: _Asked, attempt: Attempt, held: HeldCall, relay: Relay) -> Relayed | None:
        """Sends the call and relays its answer. Where it cannot be sent, the hold is released; None: another backend is
        tried.
        """
        route, gone = attempt.route, asked.exchange.gone
        key = self._world.provider_key(route.credential) if route.credential is not None else None
        if route.credential is not None and key is None:
            self._settlements.release(held.hold.id, "the call was not sent: its backend's key is not known")
            raise refusals.not_yet_known("the route's credential")
        try:
            message = forwarded(asked.wire, asked.request, asked.call, route, key, held.output_tokens)
        except RefusedCall as refused:
            self._settlements.release(held.hold.id, refused.message)
            raise
        attempt.sent()
        try:
            connection = await self._upstream.send(
                Origin.of(route.url), message, relay, unless=lambda: relay.done.done() or gone.done()
            )
        except Unreachable as error:
            self._settlements.release(held.hold.id, str(error))
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(str(route.route), "Unreachable").inc()
            if attempt.broke(FallbackCause.UNAVAILABLE, answering=False):
                self._goes_on(attempt, str(error))
                return None
            count(route, "UpstreamFailed")
            raise _upstream_failed(asked.attempts, route, str(error)) from error
        if connection is None:
            attempt.abandoned()
            self._settlements.release(held.hold.id, "the session or the client was gone before the call was sent")
            raise self._not_sent(asked, route, relay)
        relay.attach(connection)
        relayed = await relay.done
        spans.of_exchange(tracing.current(), route, relayed)
        return relayed

    def _not_sent(self, asked: _Asked, route: RouteBinding, relay: Relay) -> Exception:
        """The session, the hold or the client was gone before the call was sent."""
        if not relay.done.done():
            return ClientGone()
        count(route, "Cut")
        return _unanswered(asked.attempts, route, asked.session, relay.done.result(), relay.cut_cause)


def _unanswered(
    attempts: Attempts, route: RouteBinding, session: Session, relayed: Relayed, cause: CutCause | None
) -> RefusedCall:
    """What the client is told where it has been given no head."""
    match cause:
        case CutCause.SESSION_ENDED:
            return refusals.session_ended(session.path, "it ended while the call was under way")
        case CutCause.HOLD_LOST | CutCause.HOLD_USED_UP:
            return refusals.ledger_away()
        case CutCause.STOPPING:
            return RefusedCall(
                503, Refusal.STOPPING, "the gateway is stopping", retry_after_s=refusals.AWAY_RETRY_AFTER_S
            )
        case None:
            pass
    if relayed.status == 401:
        says = "the model's server does not accept the route's credential"
        return _upstream_failed(attempts, route, says, final=True)
    return _upstream_failed(attempts, route, relayed.message)


def _upstream_failed(attempts: Attempts, route: RouteBinding, message: str, *, final: bool = False) -> RefusedCall:
    return RefusedCall(
        502,
        Refusal.UPSTREAM_FAILED,
        f"ModelRoute {route.route}, {attempts.story}backend {route.backend}: {message}",
        retry_after_s=None if final else 1,
    )

"""One model call, from its identity to its settlement."""

import asyncio
import logging
from typing import Final

from ambit.gateway import bounds, refusals, spans
from ambit.gateway.admission import ClientGone
from ambit.gateway.admitting import Admitting
from ambit.gateway.call_holds import HeldCall
from ambit.gateway.holds import Hold
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.live_calls import LiveCall, LiveCalls
from ambit.gateway.models.json_meter import JsonMeter
from ambit.gateway.models.wire_format import Call, RefusedCall, WireFormat
from ambit.gateway.relay import CutCause, Ending, Relay, Relayed
from ambit.gateway.routes.allowed_models import AllowedModels
from ambit.gateway.routes.world import World
from ambit.gateway.server.connection import Exchange
from ambit.gateway.server.http import HOP_BY_HOP, Headers, Request, named_in_connection, request_head
from ambit.gateway.server.upstream import Origin, Unreachable, UpstreamPool
from ambit.ledger.amounts import Amount
from ambit.policy import RouteBinding
from ambit.telemetry import metrics, tracing
from ambit.telemetry.reasons import Refusal
from ambit.telemetry.tracing import Attribute, Kind, SpanName

_log = logging.getLogger(__name__)

DRAIN_S: Final = 10.0
"""How long a call goes on after its client has gone, to learn what it used."""
NOT_CHARGED: Final = frozenset({400, 401, 403, 404, 413, 422, 429, 529})
"""A provider that answers so has refused the call, and bills nothing."""
NOT_FORWARDED: Final = HOP_BY_HOP | {
    *(b"host", b"content-length", b"expect", b"accept-encoding", b"cookie", b"forwarded", b"via"),
    *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"),
    # They choose who is billed, or what is done; the route's key and the wire format say that.
    *(b"openai-organization", b"openai-project", b"x-goog-user-project", b"x-http-method-override"),
}
_NOT_FORWARDED_PREFIXES: Final = (b"x-ambit-", b"x-forwarded-", b"proxy-")


class Calls:
    """Serves model calls: bound, hold, forward, meter, settle."""

    def __init__(
        self,
        *,
        world: World,
        models: AllowedModels,
        admitting: Admitting,
        live: LiveCalls,
        upstream: UpstreamPool,
        silence_s: float,
    ) -> None:
        self._world = world
        self._models = models
        self._holds = admitting.calls
        self._settlements = admitting.settlements
        self._ahead = admitting.ahead
        self._warnings = admitting.warnings
        self._live = live
        self._upstream = upstream
        self._silence_s = silence_s

    async def serve(self, wire: WireFormat, request: Request, session: Session, exchange: Exchange) -> None:
        """Answers one call. Raises RefusedCall as long as nothing has been answered."""
        with tracing.accept(SpanName.MODEL_CALL, request.headers, Kind.CLIENT) as span:
            spans.of_session(span, session)
            await self._serve(wire, request, session, exchange)

    async def _serve(self, wire: WireFormat, request: Request, session: Session, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        received_at = loop.time()
        call = wire.parse(request)
        route = bounds.priced_for(call, (await self._models.bind(session, call.model, wire.provider)).backends[0])
        spans.of_call(tracing.current(), call, route)
        try:
            with self._live.entered(session.path) as live:
                held = await self._holds.take(session, call, route, exchange.gone)
                metrics.GATEWAY_ADMISSION_SECONDS.observe(loop.time() - received_at)
                tracing.current().set(Attribute.REQUEST_MAX_TOKENS, held.output_tokens)
                with metrics.GATEWAY_HOLDS.track_inprogress(), tracing.part(SpanName.UPSTREAM, Kind.CLIENT):
                    relayed, cause = await self._forward(wire, request, call, route, session, exchange, live, held)
        except ClientGone:
            exchange.abort()
            _count(route, "ClientGone")
            tracing.current().fail("ClientGone")
            return
        self._account_for(session, call, route, held, relayed)
        held.learn(relayed, cause)
        self._ahead.ended(session.path, session.parent)
        if not relayed.answered:
            raise _unanswered(route, session, relayed, cause)

    async def _forward(
        self,
        wire: WireFormat,
        request: Request,
        call: Call,
        route: RouteBinding,
        session: Session,
        exchange: Exchange,
        live: LiveCall,
        held: HeldCall,
    ) -> tuple[Relayed, CutCause | None]:
        """Sends the call and relays its answer. Where it cannot be sent, the hold is released."""
        hold = held.hold
        try:
            origin, message = self._message(wire, request, call, route, held.output_tokens)
        except RefusedCall as refused:
            self._settlements.release(hold.id, refused.message)
            raise
        relay = Relay(
            exchange,
            lambda event_stream: wire.meter(call, event_stream),
            lambda: JsonMeter(lambda _: None),
            lambda: self._warnings.take(session.path),
            silence_s=self._silence_s,
            drain_s=DRAIN_S,
        )
        live.relayed_by(relay)
        try:
            connection = await self._upstream.send(
                origin, message, relay, unless=lambda: relay.done.done() or exchange.gone.done()
            )
        except Unreachable as error:
            self._settlements.release(hold.id, str(error))
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(str(route.route), "Unreachable").inc()
            _count(route, "UpstreamFailed")
            raise _upstream_failed(route, str(error)) from error
        if connection is None:
            self._settlements.release(hold.id, "the session or the client was gone before the call was sent")
            if not relay.done.done():
                raise ClientGone
            _count(route, "Cut")
            raise _unanswered(route, session, relay.done.result(), relay.cut_cause)
        relay.attach(connection)
        held.follow(relay)
        try:
            relayed = await relay.done
        finally:
            held.stop()
        spans.of_exchange(tracing.current(), route, relayed)
        return relayed, relay.cut_cause

    def _message(
        self, wire: WireFormat, request: Request, call: Call, route: RouteBinding, output_tokens: int
    ) -> tuple[Origin, bytes]:
        key = self._world.provider_key(route.credential) if route.credential is not None else None
        if route.credential is not None and key is None:
            raise refusals.not_yet_known("the route's credential")
        body = wire.rewrite(call, route.model, output_tokens)
        origin = Origin.of(route.url)
        base_path = route.url.split("://", 1)[1].partition("/")[2]
        target = wire.target(request, route.model)
        if base_path:
            target = f"/{base_path}{target}"
        trace = tracing.outgoing()
        headers: Headers = (
            (b"host", origin.authority.encode("idna" if not origin.authority.isascii() else "ascii")),
            *forwarded_headers(request.headers, tracing.CONTEXT_HEADERS if trace else frozenset()),
            *trace,
            (b"accept-encoding", b"identity"),
            (b"content-length", b"%d" % len(body)),
            *(wire.credential(key) if key is not None else ()),
        )
        return origin, request_head("POST", target, headers) + body

    def _account_for(self, session: Session, call: Call, route: RouteBinding, held: HeldCall, relayed: Relayed) -> None:
        """Settles what was used; the most that it can have been where that is not known; releases what the provider
        refused.
        """
        hold, label = held.hold, str(route.route)
        if relayed.status is not None and relayed.status >= 400:
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(label, str(relayed.status)).inc()
        elif relayed.ending in (Ending.BROKEN_OFF, Ending.SILENT):
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(label, relayed.ending.value).inc()
        if relayed.status in NOT_CHARGED:
            self._settlements.release(hold.id, f"the provider refused the call: {relayed.status}")
            if relayed.status == 401 and route.credential is not None:
                self._world.credential_refused(route.credential)
            _count(route, "UpstreamRefused")
            spans.of_result(tracing.current(), call, relayed, Amount())
            _log_call(session, route, hold, relayed, Amount())
            return
        _count(route, _OUTCOMES[relayed.ending])
        if relayed.usage is None:
            metrics.GATEWAY_UNKNOWN_USAGE.labels(label).inc()
            used = held.at_most
        else:
            used = bounds.used(route, relayed.usage)
            _count_tokens(label, relayed)
        metrics.GATEWAY_COST.labels(label).inc(used.usd_nanos)
        self._settlements.settle(session.path, hold.id, used)
        spans.of_result(tracing.current(), call, relayed, used)
        _log_call(session, route, hold, relayed, used)


def forwarded_headers(headers: Headers, replaced: frozenset[bytes] = frozenset()) -> Headers:
    """The client's headers without those that are its own credentials, concern one connection, or are ours to set."""
    drop = NOT_FORWARDED | named_in_connection(headers) | replaced
    return tuple(
        (name, value) for name, value in headers if name not in drop and not name.startswith(_NOT_FORWARDED_PREFIXES)
    )


_OUTCOMES: Final = {
    Ending.COMPLETED: "Completed",
    Ending.BROKEN_OFF: "UpstreamFailed",
    Ending.SILENT: "UpstreamFailed",
    Ending.CLIENT_GONE: "ClientGone",
    Ending.CUT: "Cut",
}


def _unanswered(route: RouteBinding, session: Session, relayed: Relayed, cause: CutCause | None) -> RefusedCall:
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
        return _upstream_failed(route, "the model's server does not accept the route's credential", final=True)
    return _upstream_failed(route, relayed.message)


def _upstream_failed(route: RouteBinding, message: str, *, final: bool = False) -> RefusedCall:
    return RefusedCall(
        502,
        Refusal.UPSTREAM_FAILED,
        f"ModelRoute {route.route}, backend {route.backend}: {message}",
        retry_after_s=None if final else 1,
    )


def _log_call(session: Session, route: RouteBinding, hold: Hold, relayed: Relayed, charged: Amount) -> None:
    """One line a call: who, by which route, how it ended, what it cost. Never what was said."""
    fields = {
        "session": session.path,
        "route": str(route.route),
        "backend": route.backend,
        "hold": hold.id,
        "ending": relayed.ending.value,
        "status": relayed.status,
        "usageKnown": relayed.usage is not None,
        "tokens": charged.tokens,
        "usdNanos": charged.usd_nanos,
    }
    _log.info("model call", extra={"fields": fields})


def _count(route: RouteBinding, outcome: str) -> None:
    metrics.GATEWAY_REQUESTS.labels(str(route.route), outcome).inc()


def _count_tokens(label: str, relayed: Relayed) -> None:
    if relayed.usage is not None:
        for kind in ("input", "cache_read", "cache_write", "cache_write_1h", "output"):
            metrics.GATEWAY_TOKENS.labels(label, kind).inc(getattr(relayed.usage, kind))

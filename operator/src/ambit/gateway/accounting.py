"""What an attempt is charged once it has ended, and what is told of it: settlement, metrics, span, log."""

import logging
from typing import Final

import msgspec

from ambit.gateway import bounds, spans
from ambit.gateway.attempts.attempts import Attempts
from ambit.gateway.call_holds import HeldCall
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import Billing, Call
from ambit.gateway.relay import Ending, Relayed
from ambit.gateway.routes.world import World
from ambit.gateway.settlements import Settlements
from ambit.ledger.amounts import Amount
from ambit.policy import RouteBinding
from ambit.telemetry import metrics, tracing

_log = logging.getLogger(__name__)

NOT_CHARGED: Final = frozenset({400, 401, 403, 404, 413, 422, 429, 529})
"""A provider that answers so has refused the call, and bills nothing."""
_OUTCOMES: Final = {
    Ending.COMPLETED: "Completed",
    Ending.BROKEN_OFF: "UpstreamFailed",
    Ending.SILENT: "UpstreamFailed",
    Ending.CLIENT_GONE: "ClientGone",
    Ending.CUT: "Cut",
}


class Accounting:
    """Settles what was used; the most that it can have been where that is not known; releases what surely was not
    billed.
    """

    def __init__(self, world: World, settlements: Settlements) -> None:
        self._world = world
        self._settlements = settlements

    def ended(
        self,
        session: Session,
        call: Call,
        attempts: Attempts,
        route: RouteBinding,
        held: HeldCall,
        relayed: Relayed,
        *,
        goes_on: bool,
    ) -> None:
        """Accounts for an attempt that was sent. `goes_on`: another follows, and what becomes of the call is not known
        yet.
        """
        self._count_failure(route, relayed)
        _time(call, route, relayed)
        used = self._used(call, attempts, route, held, relayed, goes_on)
        if used is None:
            why = "the call goes on to another backend" if relayed.status is None else f"answered {relayed.status}"
            self._settlements.release(held.hold.id, f"the provider has billed nothing: {why}")
        else:
            metrics.GATEWAY_COST.labels(str(route.route)).inc(used.usd_nanos)
            self._settlements.settle(session.path, held.hold.id, used)
            attempts.counted = True
        if not goes_on:
            count(route, "UpstreamRefused" if used is None else _OUTCOMES[relayed.ending])
            spans.of_result(tracing.current(), call, relayed, used or Amount(), attempts.number)
        _log_attempt(session, attempts, route, held, relayed, used or Amount())

    def _used(
        self, call: Call, attempts: Attempts, route: RouteBinding, held: HeldCall, relayed: Relayed, goes_on: bool
    ) -> Amount | None:
        """None: nothing can have been billed."""
        if relayed.status in NOT_CHARGED or (goes_on and call.billing is Billing.NOTHING):
            return None
        if relayed.usage is None:
            metrics.GATEWAY_UNKNOWN_USAGE.labels(str(route.route)).inc()
            return held.at_most
        _count_tokens(str(route.route), relayed)
        used = bounds.used(route, relayed.usage)
        return used if not attempts.counted else msgspec.structs.replace(used, model_calls=0)

    def _count_failure(self, route: RouteBinding, relayed: Relayed) -> None:
        if relayed.status is not None and relayed.status >= 400:
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(str(route.route), str(relayed.status)).inc()
        elif relayed.ending in (Ending.BROKEN_OFF, Ending.SILENT):
            metrics.GATEWAY_UPSTREAM_ERRORS.labels(str(route.route), relayed.ending.value).inc()
        if relayed.status == 401 and route.credential is not None:
            self._world.credential_refused(route.credential)


def count(route: RouteBinding, outcome: str) -> None:
    """One call has ended so."""
    metrics.GATEWAY_REQUESTS.labels(str(route.route), outcome).inc()


def _count_tokens(label: str, relayed: Relayed) -> None:
    if relayed.usage is not None:
        for kind in ("input", "cache_read", "cache_write", "cache_write_1h", "output"):
            metrics.GATEWAY_TOKENS.labels(label, kind).inc(getattr(relayed.usage, kind))


def _time(call: Call, route: RouteBinding, relayed: Relayed) -> None:
    """Times of a stream, as whoever reads it sees them."""
    if not call.stream or relayed.status != 200 or relayed.first_chunk_s is None:
        return
    label = str(route.route)
    metrics.GATEWAY_FIRST_TOKEN_SECONDS.labels(label).observe(relayed.first_chunk_s)
    if relayed.ending is Ending.COMPLETED and relayed.usage is not None and relayed.usage.output > 1:
        each_s = (relayed.took_s - relayed.first_chunk_s) / (relayed.usage.output - 1)
        metrics.GATEWAY_OUTPUT_TOKEN_SECONDS.labels(label).observe(each_s)


def _log_attempt(
    session: Session, attempts: Attempts, route: RouteBinding, held: HeldCall, relayed: Relayed, charged: Amount
) -> None:
    """One line an attempt: who, by which route, how it ended, what it cost. Never what was said."""
    fields = {
        "session": session.path,
        "route": str(route.route),
        "backend": route.backend,
        "attempt": attempts.number,
        "hold": held.hold.id,
        "ending": relayed.ending.value,
        "status": relayed.status,
        "usageKnown": relayed.usage is not None,
        "tokens": charged.tokens,
        "usdNanos": charged.usd_nanos,
        "firstByteMs": None if relayed.first_chunk_s is None else round(relayed.first_chunk_s * 1000, 3),
        "tookMs": round(relayed.took_s * 1000, 3),
    }
    _log.info("model call", extra={"fields": fields})

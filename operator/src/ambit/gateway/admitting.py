"""The parts that take and end holds, put together: what a data path needs of the ledger."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ambit.gateway.admission import QUEUE_S, Admission
from ambit.gateway.call_holds import CallHolds
from ambit.gateway.holding_ahead import HoldingAhead
from ambit.gateway.holding_ahead.ahead import SILENCE_MS, UNUSED_S
from ambit.gateway.ledger_events import LedgerEvents
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.settlements import Settlements
from ambit.gateway.warnings import Warnings
from ambit.ledger.client import LedgerClient


@dataclass(frozen=True, slots=True)
class Admitting:
    """`events.run` must run for holds ahead to be trusted; other listeners may subscribe to it."""

    queue: RoomQueue
    warnings: Warnings
    settlements: Settlements
    ahead: HoldingAhead
    admission: Admission
    calls: CallHolds
    events: LedgerEvents

    @classmethod
    def over(
        cls,
        ledger: LedgerClient,
        *,
        hold_expires_in_ms: int,
        hold_ahead: bool,
        unused_s: float = UNUSED_S,
        queue_s: float = QUEUE_S,
    ) -> "Admitting":
        """All of one process, which takes its holds from this ledger."""
        queue, warnings = RoomQueue(), Warnings()
        settlements = Settlements(ledger, queue.freed, warnings)
        ahead = HoldingAhead(
            ledger,
            settlements,
            warnings,
            hold_expires_in_ms=hold_expires_in_ms,
            held_up=lambda session, parent: queue.account_in_the_way(session, parent) is not None,
            on=hold_ahead,
            unused_s=unused_s,
        )
        admission = Admission(
            ledger,
            settlements,
            queue,
            ahead,
            warnings,
            hold_expires_in_ms=hold_expires_in_ms,
            utc_now=lambda: datetime.now(UTC),
            queue_s=queue_s,
        )
        events = LedgerEvents(ledger, silence_ms=SILENCE_MS if hold_ahead else None, heard=ahead.heard)
        events.subscribe(ahead.on_event)
        events.subscribe(admission.exhausted.on_event)
        calls = CallHolds(ledger, admission, settlements, queue, warnings, hold_expires_in_ms=hold_expires_in_ms)
        return cls(queue, warnings, settlements, ahead, admission, calls, events)

"""Short words for what the tests of a Budget's policies do."""

from typing import Any

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.events import events_of
from ambit.ledger.wire import Granted, RefusalReason, TopUp
from tests.ledger.builders import (
    AGENT,
    ORGANISATION,
    SESSION,
    TEAM,
    Ledger,
    a_limit,
)

DAY_LIMIT = a_limit(10, Window.DAY)


def put(ledger: Ledger, *limits: Limit, path: str = TEAM, **fields: Any) -> None:
    parent = {TEAM: ORGANISATION, AGENT: TEAM}.get(path)
    assert ledger.do(wire.PutAccount(path, limits, parent, **fields), "operator") == wire.AccountPut()


def spend(ledger: Ledger, amount: Amount, path: str = SESSION) -> wire.Settled:
    hold = f"spent-{len(ledger.journal)}"
    assert isinstance(ledger.reserve(amount, hold=hold, path=path), Granted)
    settled = ledger.settle(amount, hold)
    assert isinstance(settled, wire.Settled)
    return settled


def reason_of(answer: wire.AnyResult) -> RefusalReason | None:
    return answer.reason if isinstance(answer, wire.Denial) else None


def events(ledger: Ledger) -> list[wire.AnyEvent]:
    """What the last step told."""
    return [event for change in ledger.last_changes if (event := events_of(change)) is not None]


def is_replayed(ledger: Ledger) -> bool:
    """Whether the journal gives the tree as it is, by replay and by snapshot."""
    ledger.pass_time(0)
    return ledger.image(ledger.replayed()) == ledger.image() == ledger.image(ledger.through_snapshot())


def a_top_up(name: str, amount: int = 5, window: Window = Window.DAY) -> TopUp:
    return TopUp(name, window, Resource.MODEL_CALLS, amount)

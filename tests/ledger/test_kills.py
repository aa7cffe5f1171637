"""A kill is followed until nothing of it acts any more, and how that is known is said."""

import pytest

from ambit.ledger import wire
from ambit.ledger.changes import Codec
from ambit.ledger.events import events_of
from ambit.ledger.wire import Confirmation, KillConfirmed, Killed
from tests.ledger.builders import AGENT, HOUR_MS, OTHER, SESSION, TEAM, Ledger, a_ledger, calls


def confirmations(ledger: Ledger) -> list[wire.AnyEvent]:
    """Of the last step."""
    events = [events_of(change) for change in Codec.decode(ledger.journal[-1])]
    return [event for event in events if isinstance(event, KillConfirmed)]


def confirmed(ledger: Ledger, path: str) -> Confirmation | None:
    """How a kill is, by its repeat."""
    answer = ledger.kill(path)
    assert isinstance(answer, Killed)
    return answer.confirmed


@pytest.mark.parametrize("through_snapshot", [False, True])
@pytest.mark.parametrize("path", [SESSION, AGENT, TEAM])
def test_a_kill_is_observed_when_its_holders_have_settled(path: str, through_snapshot: bool) -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1")
    ledger.reserve(calls(1), hold="g#2")
    assert ledger.kill(path) == Killed((SESSION,))
    ledger.pass_time(40)
    if through_snapshot:
        ledger.restart(ledger.through_snapshot())
    ledger.settle(calls(1), "g#1")
    assert confirmations(ledger) == []
    ledger.release("g#2")
    assert confirmations(ledger) == [KillConfirmed(path, Confirmation.OBSERVED, 40)]
    assert ledger.kill(path) == Killed((), Confirmation.OBSERVED)


def test_a_kill_is_presumed_when_a_silent_holders_last_hold_has_expired() -> None:
    ledger = a_ledger()
    ledger.open(path=OTHER)
    ledger.reserve(calls(1), hold="g#1", expires_in_ms=1000)
    ledger.reserve(calls(1), hold="h#1", expires_in_ms=5000, path=OTHER)
    ledger.kill(TEAM)
    ledger.pass_time(1000)
    assert confirmations(ledger) == []
    ledger.settle(calls(1), "h#1")
    assert confirmations(ledger) == [KillConfirmed(TEAM, Confirmation.PRESUMED, 1000)]
    assert ledger.kill(TEAM) == Killed((), Confirmation.PRESUMED)


@pytest.mark.parametrize("through_snapshot", [False, True])
@pytest.mark.parametrize("again", [SESSION, TEAM])
def test_whose_holder_was_silent_is_presumed_by_every_kill_after_that(again: str, through_snapshot: bool) -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1", expires_in_ms=1000)
    ledger.reserve(calls(1), hold="h#1")
    ledger.kill(SESSION)
    ledger.pass_time(1000)
    ledger.open(path=OTHER)
    if through_snapshot:
        ledger.restart(ledger.through_snapshot())
    ledger.kill(again)
    ledger.settle(calls(1), "h#1")
    assert confirmed(ledger, SESSION) is Confirmation.PRESUMED
    assert confirmed(ledger, again) is Confirmation.PRESUMED


def test_a_kill_that_is_begun_anew_for_a_new_session_stays_presumed() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1", expires_in_ms=1000)
    ledger.reserve(calls(1), hold="h#1")
    ledger.kill(TEAM)
    ledger.pass_time(1000)
    ledger.open(path=OTHER)
    ledger.kill(TEAM)
    ledger.settle(calls(1), "h#1")
    assert confirmed(ledger, TEAM) is Confirmation.PRESUMED


@pytest.mark.parametrize("ended", [False, True])
def test_a_session_whose_only_hold_expired_before_its_kill_is_presumed_until_its_holder_speaks(ended: bool) -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1", expires_in_ms=1000)
    if ended:
        ledger.close()
    ledger.pass_time(1000)
    assert confirmed(ledger, SESSION) is Confirmation.PRESUMED
    ledger.settle(calls(1), "g#1")
    assert confirmed(ledger, SESSION) is Confirmation.PRESUMED, "a kill that is confirmed stays as it is"
    assert confirmed(ledger, AGENT) is Confirmation.OBSERVED


def test_a_kill_waits_for_no_session_that_was_opened_after_it() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1")
    ledger.kill(AGENT)
    ledger.open(path=OTHER)
    ledger.reserve(calls(1), hold="g#2", path=OTHER)
    ledger.settle(calls(1), "g#1")
    assert confirmations(ledger) == [KillConfirmed(AGENT, Confirmation.OBSERVED, 0)]


def test_a_repeated_kill_is_the_same_kill_and_one_of_new_sessions_another() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1")
    ledger.kill(AGENT)
    ledger.pass_time(70)
    assert ledger.kill(AGENT) == Killed((SESSION,))
    ledger.settle(calls(1), "g#1")
    assert confirmations(ledger) == [KillConfirmed(AGENT, Confirmation.OBSERVED, 70)]
    ledger.open(path=OTHER)
    ledger.reserve(calls(1), hold="g#2", path=OTHER, expires_in_ms=HOUR_MS)
    assert ledger.kill(AGENT) == Killed((OTHER,))
    ledger.settle(calls(1), "g#2")
    assert confirmations(ledger) == [KillConfirmed(AGENT, Confirmation.OBSERVED, 0)]


def test_a_kill_survives_a_crash() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(1), hold="g#1")
    ledger.kill(TEAM)
    ledger.restart(ledger.replayed())
    ledger.settle(calls(1), "g#1")
    assert confirmations(ledger) == [KillConfirmed(TEAM, Confirmation.OBSERVED, 0)]


@pytest.mark.parametrize("ending", ["settled", "expired"])
def test_a_kill_is_confirmed_though_its_agent_stands_under_another_budget_by_then(ending: str) -> None:
    ledger = a_ledger()
    ledger.budget(path="budget/n/elsewhere", parent=None)
    ledger.reserve(calls(1), hold="g#1", expires_in_ms=1000)
    ledger.kill(TEAM)
    ledger.remove(AGENT)
    ledger.agent(parent="budget/n/elsewhere")
    if ending == "settled":
        ledger.settle(calls(1), "g#1")
    else:
        ledger.pass_time(1000)
    how = Confirmation.OBSERVED if ending == "settled" else Confirmation.PRESUMED
    assert [
        event.how for event in confirmations(ledger) if isinstance(event, KillConfirmed) and event.path == TEAM
    ] == [how]
    ledger.pass_time(HOUR_MS)
    ledger.restart(ledger.through_snapshot())
    assert ledger.kill(TEAM) == Killed((), how)

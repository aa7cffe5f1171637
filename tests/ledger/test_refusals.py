"""Refusals in the audit: the first at once, then a count a minute."""

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.audit import AuditedRefusal, AuditedRefusals
from ambit.ledger.refusals import RefusalTally
from ambit.ledger.timers import NEVER
from ambit.ledger.wire import RefusalReason, Refused
from tests.ledger.builders import MINUTE_MS, NOON_MS, ORGANISATION, SESSION, TEAM

LIMIT = RefusalReason.LIMIT_EXCEEDED


def refused(account: str = TEAM, window: Window = Window.DAY) -> Refused:
    return Refused(LIMIT, account, "no room", window, Resource.USD, limit=5, spent=4, held=1, requested=2)


def test_the_first_refusal_is_told_at_once_and_the_others_as_a_count() -> None:
    tally = RefusalTally()
    first = tally.note(refused(), SESSION, NOON_MS)
    assert first == AuditedRefusal(LIMIT, SESSION, Window.DAY, Resource.USD, 5, 4, 1, 2)
    assert [tally.note(refused(), SESSION, NOON_MS + second) for second in range(1, 8)] == [None] * 7
    assert list(tally.due(NOON_MS + MINUTE_MS - 1)) == []
    assert tally.next_due_ms == NOON_MS + MINUTE_MS
    counted = AuditedRefusals(LIMIT, Window.DAY, Resource.USD, 7, MINUTE_MS)
    assert list(tally.due(NOON_MS + MINUTE_MS)) == [(TEAM, counted)]


def test_each_bound_of_each_account_is_counted_apart() -> None:
    tally = RefusalTally()
    bounds = [refused(), refused(window=Window.MONTH), refused(ORGANISATION)]
    assert all(isinstance(tally.note(bound, SESSION, NOON_MS), AuditedRefusal) for bound in bounds)
    assert [tally.note(bound, SESSION, NOON_MS) for bound in bounds] == [None] * 3


def test_what_shadow_would_have_refused_is_counted_apart() -> None:
    tally = RefusalTally()
    tally.note(refused(), SESSION, NOON_MS)
    first = tally.note(refused(), SESSION, NOON_MS, shadow=True)
    assert first is not None
    assert first.shadow


def test_a_bound_that_goes_on_refusing_is_counted_each_minute() -> None:
    tally = RefusalTally()
    tally.note(refused(), SESSION, NOON_MS)
    for minute in range(1, 4):
        for _ in range(minute):
            assert tally.note(refused(), SESSION, NOON_MS) is None
        assert [entry.count for _, entry in tally.due(NOON_MS + minute * MINUTE_MS)] == [minute]


def test_after_a_silent_minute_the_next_one_is_told_at_once_and_nothing_is_kept() -> None:
    tally = RefusalTally()
    tally.note(refused(), SESSION, NOON_MS)
    assert list(tally.due(NOON_MS + MINUTE_MS)) == []
    assert tally.next_due_ms == NEVER
    assert isinstance(tally.note(refused(), SESSION, NOON_MS + MINUTE_MS), AuditedRefusal)


def test_what_no_bound_refuses_is_not_audited() -> None:
    tally = RefusalTally()
    assert tally.note(Refused(RefusalReason.SESSION_ENDED, SESSION, "it has ended"), SESSION, NOON_MS) is None
    assert tally.next_due_ms == NEVER


def test_refusals_that_others_gave_by_one_of_ours_are_in_the_count() -> None:
    tally = RefusalTally()
    tally.note(refused(), SESSION, NOON_MS)
    bound = (TEAM, LIMIT, Window.DAY, Resource.USD, False)
    tally.add(bound, 40, NOON_MS + 1)
    tally.note(refused(), SESSION, NOON_MS + 2)
    assert [entry.count for _, entry in tally.due(NOON_MS + MINUTE_MS)] == [41]
    assert list(tally.due(NOON_MS + 2 * MINUTE_MS)) == []
    tally.add(bound, 3, NOON_MS + 3 * MINUTE_MS)  # a ledger that has taken over knows of none before
    assert [entry.count for _, entry in tally.due(NOON_MS + 4 * MINUTE_MS)] == [3]

"""What the tree has recorded beside its changes: the audit, and what was spent in windows that ended."""

from typing import Any

import pytest

from ambit.ledger import snapshot, wire
from ambit.ledger.allowance import Allowance
from ambit.ledger.amounts import Amount, Resource, Window
from ambit.ledger.audit import (
    AnyEntry,
    AuditedAdjustment,
    AuditedClock,
    AuditedCorrection,
    AuditedKill,
    AuditedLimits,
    AuditedLoss,
    AuditedOverrun,
    AuditedRefusal,
    AuditedRefusals,
    AuditedRemoval,
    AuditedRestore,
    AuditedTopUp,
    Verified,
    entry_of,
    verify,
)
from ambit.ledger.changes import ClockDoubted, Codec, RestoreBegun
from ambit.ledger.history import windows_of
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.snapshot import restore, take
from ambit.ledger.tree import Tree
from ambit.ledger.wire import Enforcement, TopUp
from tests.ledger.builders import (
    AGENT,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    ORGANISATION,
    SESSION,
    TEAM,
    Ledger,
    a_ledger,
    a_limit,
    calls,
    tokens,
)

DAY, TOKENS = a_limit(10, Window.DAY), a_limit(9, Window.DAY, Resource.TOKENS)


def audit_of(ledger: Ledger) -> list[Record]:
    """The records of the audit, after the head of the tree has vouched for them."""
    records = [record for record in ledger.records if record.kind is RecordKind.AUDIT]
    assert isinstance(verify(records, ledger.tree.state.audit_head), Verified)
    assert ledger.replayed().state.audit_head == ledger.tree.state.audit_head
    return records


def entries(ledger: Ledger, kind: type[AnyEntry]) -> list[tuple[str, AnyEntry]]:
    """What the audit says of one kind, and where."""
    return [(record.path, found) for record in audit_of(ledger) if isinstance(found := entry_of(record), kind)]


def history(ledger: Ledger, path: str, window: Window | None = None) -> list[tuple[Window, Amount]]:
    """What was recorded of an account's windows."""
    records = [each for each in ledger.records if each.kind is RecordKind.WINDOW and each.path == path]
    return [(each.window, each.spent) for each in windows_of(records, window)]


# -- the audit


def test_limits_removals_and_top_ups_are_audited_when_they_change_something() -> None:
    ledger = a_ledger(a_limit(10, Window.DAY))
    put = wire.PutAccount(
        TEAM, (a_limit(10, Window.DAY),), ORGANISATION, top_ups=(TopUp("a", Window.DAY, Resource.MODEL_CALLS, 5),)
    )
    for _ in range(3):
        ledger.do(put, "operator")
        ledger.remove("budget/n/none")
    ledger.remove(TEAM)
    ledger.remove(TEAM)
    changed = [entry for path, entry in entries(ledger, AuditedLimits) if path == TEAM]
    assert changed == [AuditedLimits((a_limit(10, Window.DAY),), "Etc/UTC", parent=ORGANISATION)]
    assert entries(ledger, AuditedTopUp) == [(TEAM, AuditedTopUp("a", Window.DAY, Resource.MODEL_CALLS, 5))]
    assert entries(ledger, AuditedRemoval) == [(TEAM, AuditedRemoval())]


@pytest.mark.parametrize(
    ("terms", "recorded"),
    [
        ({"limits": (TOKENS, DAY)}, False),
        ({"warn_at": (50, 80)}, False),
        ({"top_ups": (TopUp("a", Window.DAY, Resource.MODEL_CALLS, 5),)}, False),
        ({"generation": 8}, False),
        ({"limits": (DAY,)}, True),
        ({"limits": (DAY, a_limit(8, Window.DAY, Resource.TOKENS))}, True),
        ({"concurrent_sessions": 3}, True),
        ({"enforcement": Enforcement.SHADOW}, True),
        ({"when_exhausted": wire.WhenExhausted.TERMINATE}, True),
        ({"holds": wire.HoldPolicy.FULL}, True),
        ({"time_zone": "Europe/Berlin"}, True),
    ],
)
def test_an_edit_that_changes_no_limit_leaves_no_record_of_limits(terms: dict[str, Any], recorded: bool) -> None:
    ledger = a_ledger(DAY, TOKENS)
    before = len(entries(ledger, AuditedLimits))
    whole: dict[str, Any] = {"limits": (DAY, TOKENS), "parent": ORGANISATION, **terms}
    assert ledger.do(wire.PutAccount(TEAM, **whole), "operator") == wire.AccountPut()
    assert len(entries(ledger, AuditedLimits)) - before == recorded


def test_an_agents_limits_of_its_users_are_recorded_when_they_change() -> None:
    ledger = a_ledger()
    before = len(entries(ledger, AuditedLimits))
    for users in ((DAY, TOKENS), (TOKENS, DAY), (DAY,)):
        ledger.do(wire.PutAccount(AGENT, (), TEAM, user_limits=users), "operator")
    assert len(entries(ledger, AuditedLimits)) - before == 2


def test_a_record_of_limits_says_which_generation_of_its_object_asked_for_them() -> None:
    ledger = a_ledger()
    ledger.do(wire.PutAccount(TEAM, (DAY,), ORGANISATION, generation=7), "operator")
    assert entries(ledger, AuditedLimits)[-1] == (
        TEAM,
        AuditedLimits((DAY,), "Etc/UTC", parent=ORGANISATION, generation=7),
    )


def test_all_that_an_account_is_put_with_is_audited() -> None:
    ledger = a_ledger()
    put = wire.PutAccount(
        AGENT,
        (a_limit(10, Window.DAY),),
        TEAM,
        "Europe/Berlin",
        concurrent_sessions=3,
        enforcement=Enforcement.SHADOW,
        warn_at=(50,),
        when_exhausted=wire.WhenExhausted.PARK,
        holds=wire.HoldPolicy.FULL,
        user_limits=(a_limit(2),),
    )
    ledger.do(put, "operator")
    _, entry = entries(ledger, AuditedLimits)[-1]
    for name in (*Allowance.__struct_fields__, "time_zone", "parent"):
        assert name == "top_ups" or getattr(entry, name) == getattr(put, name), name


def test_kills_losses_corrections_and_overruns_are_audited() -> None:
    ledger = a_ledger()
    ledger.reserve(tokens(10), hold="lost", expires_in_ms=1000)
    ledger.reserve(tokens(10), hold="h")
    ledger.settle(tokens(12))
    ledger.pass_time(1000)
    ledger.settle(tokens(4), "lost")
    ledger.kill(TEAM)
    ledger.kill(TEAM)
    assert entries(ledger, AuditedOverrun) == [(SESSION, AuditedOverrun("gateway", "h", tokens(2)))]
    assert entries(ledger, AuditedLoss) == [(SESSION, AuditedLoss("gateway", "lost", tokens(10)))]
    assert entries(ledger, AuditedCorrection) == [(SESSION, AuditedCorrection("gateway", "lost", tokens(4)))]
    assert entries(ledger, AuditedKill) == [(TEAM, AuditedKill("runs amok", "ada", 1))]


def test_corrections_clocks_and_restores_are_audited_with_their_reasons() -> None:
    ledger = a_ledger()
    ledger.do(wire.Adjust(TEAM, Resource.TOKENS, 5, "invoice 7", "ada"), "operator")
    state = ledger.tree.state
    for change in (ClockDoubted(state.now_ms), RestoreBegun(state.now_ms)):
        state.evolve(change)
    ledger.do(wire.Resume("a disk died", "ada", forget=True), "operator")
    ledger.do(wire.AcceptClock("the node had slept", "ada"), "operator")
    records = [entry_of(each) for each in ledger.records if each.kind is RecordKind.AUDIT]
    assert AuditedAdjustment(Resource.TOKENS, 5, "invoice 7", "ada") in records
    assert AuditedRestore(None, "a disk died", "ada") in records
    assert AuditedClock("the node had slept", "ada") in records


def test_a_bound_that_refuses_on_and_on_is_audited_at_once_and_then_by_the_minute() -> None:
    ledger = a_ledger(a_limit(1, Window.DAY))
    for _ in range(5):
        ledger.reserve(calls(2))
    (first,) = entries(ledger, AuditedRefusal)
    limit = wire.RefusalReason.LIMIT_EXCEEDED
    assert first == (TEAM, AuditedRefusal(limit, SESSION, Window.DAY, Resource.MODEL_CALLS, 1, 0, 0, 2))
    assert ledger.tree.next_due_ms() == ledger.now_ms + MINUTE_MS
    ledger.pass_time(MINUTE_MS)
    (counted,) = entries(ledger, AuditedRefusals)
    assert counted == (TEAM, AuditedRefusals(limit, Window.DAY, Resource.MODEL_CALLS, 4, MINUTE_MS))
    ledger.pass_time(MINUTE_MS)
    assert len(entries(ledger, AuditedRefusals)) == 1


def test_refusals_that_a_gateway_gave_in_the_ledgers_place_are_counted() -> None:
    ledger = a_ledger(a_limit(0, Window.DAY))
    refused = ledger.reserve(calls(1))
    assert isinstance(refused, wire.Refused)
    told = wire.CountRefusals(TEAM, Window.DAY, Resource.MODEL_CALLS, 500)
    assert ledger.do(told) == wire.RefusalsCounted()
    assert ledger.last_changes == [], "it is of no weight in the tree"
    ledger.pass_time(MINUTE_MS)
    limit = wire.RefusalReason.LIMIT_EXCEEDED
    assert entries(ledger, AuditedRefusals) == [
        (TEAM, AuditedRefusals(limit, Window.DAY, Resource.MODEL_CALLS, 500, MINUTE_MS))
    ]
    elsewhere = wire.CountRefusals("budget/n/nowhere", Window.DAY, Resource.MODEL_CALLS, 1)
    assert ledger.do(elsewhere) == wire.UnknownAccount("budget/n/nowhere")


def test_what_shadow_would_have_refused_is_audited_as_such() -> None:
    ledger = a_ledger()
    shadow = wire.PutAccount(TEAM, (a_limit(1, Window.DAY),), ORGANISATION, enforcement=Enforcement.SHADOW)
    ledger.do(shadow, "operator")
    ledger.reserve(calls(2))
    ((_, entry),) = entries(ledger, AuditedRefusal)
    assert isinstance(entry, AuditedRefusal)
    assert entry.shadow


def test_the_chain_goes_on_through_a_restart_from_a_snapshot() -> None:
    ledger = a_ledger()
    ledger.restart(ledger.through_snapshot(ledger.replayed()))
    ledger.kill(TEAM)
    records = [record for record in ledger.records if record.kind is RecordKind.AUDIT]
    assert isinstance(verify(records, ledger.tree.state.audit_head), Verified)


# -- windows


def spend(ledger: Ledger, amount: Amount) -> None:
    hold = f"spent-{len(ledger.journal)}"
    assert ledger.reserve(amount, hold=hold) == wire.Granted(amount)
    assert ledger.settle(amount, hold) == wire.Settled()


def test_what_a_window_has_seen_is_recorded_once_when_it_is_over() -> None:
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.pass_time(DAY_MS - 1)
    ledger.usage(TEAM)
    ledger.usage(TEAM)
    spend(ledger, calls(4))
    ledger.usage(AGENT)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]
    assert history(ledger, AGENT, Window.DAY) == [(Window.DAY, calls(3))]
    ledger.pass_time(2 * DAY_MS)
    ledger.usage(TEAM)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3)), (Window.DAY, calls(4))]


def test_looking_records_a_window_and_a_crash_does_not_record_it_again() -> None:
    """A look turns the windows in memory, where a replay would not know of it but for the change that it makes."""
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.pass_time(DAY_MS - 1)
    assert ledger.do(wire.GetHistory(TEAM)) == wire.History(())
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]
    ledger.restart(ledger.replayed())
    spend(ledger, calls(1))
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]


def test_what_is_settled_after_its_windows_end_adds_to_what_was_recorded_of_it() -> None:
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.reserve(calls(5), hold="late", expires_in_ms=DAY_MS)
    ledger.pass_time(12 * HOUR_MS)
    spend(ledger, calls(1))
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]
    ledger.settle(calls(4), "late")
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(7))]
    assert history(ledger, TEAM, Window.HOUR) == [(Window.HOUR, calls(7))]
    assert history(ledger, SESSION) == [], "sessions count their lifetime only"


def test_a_lost_hold_that_is_corrected_after_its_windows_end_is_corrected_in_the_history_too() -> None:
    ledger = a_ledger()
    ledger.reserve(calls(5), hold="lost#1", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.pass_time(13 * HOUR_MS)
    ledger.usage(TEAM)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(5))]
    assert isinstance(ledger.settle(calls(2), "lost#1"), wire.Settled)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(2))]


def test_an_account_that_spent_nothing_has_no_history() -> None:
    ledger = a_ledger()
    ledger.pass_time(40 * DAY_MS)
    ledger.usage(TEAM)
    assert history(ledger, TEAM) == []
    state = ledger.tree.state
    assert restore(take(state, state.now_ms)).audit_head == state.audit_head


# -- what is charged late


def extended_by_the_hour(ledger: Ledger, hours: int) -> None:
    """A hold of one call that gets one more at the half of each hour."""
    ledger.reserve(calls(1), hold="long", expires_in_ms=DAY_MS)
    ledger.now_ms += HOUR_MS // 2
    for sequence in range(1, hours + 1):
        for part in (1, 2):  # within a minute, and in another minute of the hour
            ledger.extend(2 * sequence + part, calls(1), hold="long", expires_in_ms=DAY_MS)
            ledger.now_ms += MINUTE_MS
        ledger.now_ms += HOUR_MS - 2 * MINUTE_MS


@pytest.mark.parametrize("restarted", [False, True])
def test_each_increment_of_a_long_hold_is_charged_to_the_hour_that_granted_it(restarted: bool) -> None:
    ledger = a_ledger()
    extended_by_the_hour(ledger, 5)
    if restarted:
        ledger.restart(ledger.through_snapshot(ledger.replayed()))
    ledger.settle(calls(8), "long")
    assert history(ledger, TEAM, Window.HOUR) == [(Window.HOUR, calls(each)) for each in (3, 2, 2, 1)]
    assert history(ledger, TEAM, Window.DAY) == []
    ledger.pass_time(DAY_MS)
    ledger.usage(TEAM)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(8))]
    assert history(ledger, TEAM, Window.HOUR) == [(Window.HOUR, calls(each)) for each in (3, 2, 2, 1)]


def test_the_increments_of_this_hour_are_charged_to_it_while_it_runs() -> None:
    ledger = a_ledger(a_limit(100, Window.HOUR))
    extended_by_the_hour(ledger, 3)
    ledger.extend(100, calls(5), hold="long", expires_in_ms=DAY_MS)
    assert ledger.limit_usage(TEAM) == (0, 5)
    ledger.settle(calls(9), "long")
    assert ledger.limit_usage(TEAM) == (2, 0), "7 were granted before: they are filled first"
    assert history(ledger, TEAM, Window.HOUR) == [(Window.HOUR, calls(each)) for each in (3, 2, 2)]


def test_a_window_that_ended_before_a_snapshot_is_recorded_once_after_it() -> None:
    """The snapshot's process turns windows that the writer has not looked at."""
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.now_ms += 13 * HOUR_MS
    ledger.restart(ledger.through_snapshot(ledger.replayed()))
    spend(ledger, calls(4))
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]
    ledger.pass_time(DAY_MS)
    ledger.usage(TEAM)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3)), (Window.DAY, calls(4))]


def test_windows_that_end_between_a_snapshot_and_the_next_record_are_recorded_with_those_before() -> None:
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.now_ms += HOUR_MS
    ledger.restart(ledger.through_snapshot(ledger.replayed()))
    outcome = ledger.tree.apply("gateway", wire.GetUsage(SESSION), ledger.now_ms + 12 * HOUR_MS)
    ledger.records.extend(outcome.records)
    assert history(ledger, TEAM) == [(Window.DAY, calls(3)), (Window.HOUR, calls(3))]


def test_what_was_recorded_after_a_snapshot_is_not_recorded_again_after_a_crash() -> None:
    ledger = a_ledger()
    spend(ledger, calls(3))
    ledger.now_ms += 13 * HOUR_MS
    kept = list(snapshot.take(ledger.replayed().state, ledger.now_ms))
    after = len(ledger.journal)
    spend(ledger, calls(4))
    tree = Tree(snapshot.restore(kept))
    for batch in ledger.journal[after:]:
        tree.replay(Codec.decode(batch))
    ledger.restart(tree)
    ledger.usage(TEAM)
    ledger.usage(AGENT)
    assert history(ledger, TEAM, Window.DAY) == [(Window.DAY, calls(3))]
    assert history(ledger, AGENT, Window.DAY) == [(Window.DAY, calls(3))]


def test_a_late_charge_belongs_to_the_window_that_ran_then_whatever_the_zone_is_now() -> None:
    """Noon in UTC is in the Day that ends at midnight there, though the account is in Tokyo by then."""
    ledger = a_ledger()
    spend(ledger, calls(1))
    ledger.reserve(calls(2), hold="utc", expires_in_ms=DAY_MS)
    ledger.budget(parent=ORGANISATION, zone="Asia/Tokyo")
    ledger.pass_time(13 * HOUR_MS)
    spend(ledger, calls(4))  # in the Day from UTC's midnight to Tokyo's
    ledger.reserve(calls(8), hold="between", expires_in_ms=DAY_MS)
    ledger.pass_time(DAY_MS - HOUR_MS)
    ledger.settle(calls(2), "utc")
    ledger.pass_time(16 * HOUR_MS)
    ledger.settle(calls(8), "between")
    records = [each for each in ledger.records if each.kind is RecordKind.WINDOW and each.path == TEAM]
    days = windows_of(records, Window.DAY)
    assert [each.spent for each in days] == [calls(3), calls(12)]
    midnight_ms = NOON_MS + 12 * HOUR_MS
    assert [(each.start_ms, each.end_ms) for each in days] == [
        (midnight_ms - DAY_MS, midnight_ms),
        (midnight_ms, midnight_ms + DAY_MS + 15 * HOUR_MS),
    ]


def test_an_adjustment_and_a_correction_of_the_same_loss_leave_no_window_below_nothing() -> None:
    ledger = a_ledger(a_limit(20, Window.DAY))
    spend(ledger, calls(10))
    ledger.pass_time(12 * HOUR_MS)
    ledger.reserve(calls(6), hold="lost#1", expires_in_ms=1000)
    ledger.pass_time(1000)
    ledger.do(wire.Adjust(TEAM, Resource.MODEL_CALLS, -6, "they told us", "ada"), "operator")
    assert ledger.limit_usage(TEAM) == (0, 0)
    assert ledger.settle(calls(1), "lost#1") == wire.Settled()
    assert ledger.limit_usage(TEAM) == (0, 0), "a window below nothing would allow more than its limit"
    assert isinstance(ledger.reserve(calls(21)), wire.Refused)

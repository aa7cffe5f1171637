"""Where a client takes an operation to belong, and what it makes of several answers. Nothing here is sent."""

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.partitions.rendezvous import partition_of
from ambit.ledger.partitions.table import Table
from ambit.ledger.routing.directory import Directory
from ambit.ledger.routing.events import Hearing, Word
from ambit.ledger.routing.everywhere import error_of, merged, shares
from ambit.ledger.transport import AttemptFailed

ROOT, CHILD, AGENT, SESSION = "budget/n/root", "budget/n/child", "agent/n/a", "session/n/s"
ONE = Amount(model_calls=1)
HOME = partition_of(ROOT, 16)


def a_directory(partitions: int = 16) -> Directory:
    return Directory(HttpLedger("http://nobody", str), Table((None,) * partitions, ()))


def a_tree(directory: Directory) -> list[int | None]:
    """Where each account of a tree was taken to be made."""
    ops = (
        wire.PutAccount(ROOT),
        wire.PutAccount(CHILD, parent=ROOT),
        wire.PutAccount(AGENT, parent=CHILD),
        wire.Open(SESSION, AGENT, 1000),
    )
    return [directory.find(op) for op in ops]


def test_only_a_root_is_hashed_and_everything_else_is_where_its_parent_is() -> None:
    assert a_tree(a_directory()) == [HOME] * 4


def test_nothing_is_guessed_of_an_account_that_is_not_known() -> None:
    directory = a_directory()
    unknown = (
        wire.PutAccount(AGENT, parent=CHILD),
        wire.Open(SESSION, AGENT, 1000),
        wire.GetUsage(ROOT),
        wire.Settle("holder#1", ONE),
        wire.Extend("runtime:n:s", 1, 1000),
    )
    assert [directory.find(op) for op in unknown] == [None] * len(unknown)


def test_a_hold_is_known_as_long_as_it_is_held() -> None:
    directory = a_directory()
    a_tree(directory)
    hold, settle = wire.Reserve("holder#1", SESSION, ONE, ONE, 1000), wire.Settle("holder#1", ONE)
    assert directory.find(hold) == HOME
    directory.answered(hold, wire.Granted(ONE))
    assert directory.find(settle) == HOME
    directory.answered(settle, wire.Settled())
    assert directory.find(settle) is None
    assert directory.find(hold) == HOME
    directory.answered(hold, wire.Refused(wire.RefusalReason.LIMIT_EXCEEDED, ROOT, "no room"))
    assert directory.find(settle) is None


def test_what_turns_out_to_be_elsewhere_is_forgotten() -> None:
    directory = a_directory()
    a_tree(directory)
    look = wire.GetUsage(SESSION)
    assert directory.find(look) == HOME
    directory.answered(look, wire.UnknownAccount(SESSION))
    assert directory.find(look) is None
    again = wire.PutAccount(AGENT, parent=CHILD)
    directory.answered(again, wire.OtherTree(AGENT, "elsewhere"))
    assert directory.find(wire.GetUsage(AGENT)) is None


def test_a_ledger_of_another_number_of_partitions_is_not_believed() -> None:
    with pytest.raises(AttemptFailed, match="had 16 partitions and has 4"):
        a_directory().learn(Table((None,) * 4, ()))


def test_a_resume_tells_each_partition_what_was_spent_there() -> None:
    here, there = wire.SpentSince(SESSION, ONE), wire.SpentSince(AGENT, ONE)
    asked = shares(wire.Resume("why", "me", (here, there)), [2, 0], 3)
    assert asked == [
        {0: wire.Resume("why", "me", (there,)), 2: wire.Resume("why", "me", (here,))},
        {1: wire.Resume("why", "me", (), forget=True)},
    ], "nothing is forgotten before what was spent is taken"
    forget = wire.Resume("why", "me", forget=True)
    assert shares(forget, [], 2) == [{0: forget, 1: forget}]


def test_of_several_answers_an_error_counts_unless_it_is_that_of_a_repeat() -> None:
    done, repeated, forbidden = wire.Resumed(), wire.Invalid("it has resumed"), wire.Forbidden("no")
    assert merged([done, repeated]) == done
    assert merged([repeated, repeated]) == repeated
    assert merged([done, forbidden]) == forbidden
    assert merged([wire.ClockAccepted(), forbidden]) == forbidden
    assert error_of([done, repeated]) is None
    assert error_of([done, wire.UnknownAccount(SESSION)]) == wire.UnknownAccount(SESSION)
    assert merged([wire.ClockAccepted()] * 2) == wire.ClockAccepted()


def test_the_ledger_is_heard_only_when_every_partition_is() -> None:
    hearing = Hearing(3, silence_s=1.0)
    assert not hearing.take(Word(frozenset({0, 1}), 10.0))
    assert hearing.take(Word(frozenset({2}), 10.5))
    assert not hearing.take(Word(frozenset({2}), 11.1)), "0 and 1 were heard more than a silence ago"
    assert hearing.take(Word(frozenset({0, 1}), 11.2))
    assert not hearing.take(Word(frozenset(), 11.2)), "it speaks for nobody"

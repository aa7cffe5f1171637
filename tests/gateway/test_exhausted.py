"""Refusals that are final, answered again without the ledger; and never where the ledger would grant."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from ambit.gateway import exhausted
from ambit.gateway.admitting import Admitting
from ambit.gateway.exhausted import REMEMBERED_S, Exhausted
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.scripted import ScriptedLedger
from tests.ledger.server import running

BUDGET, AGENT = "budget/n/b", "agent/n/a"
MINE = Session("session/n/mine", AGENT, None, None)
SIBLING = Session("session/n/sibling", AGENT, None, None)
STRANGER = Session("session/n/stranger", "agent/n/other", None, None)
ONE, TWO, THREE = (Amount(model_calls=count) for count in (1, 2, 3))
NEVER_MS = 3_600_000
REFUSED = wire.Refused(
    wire.RefusalReason.LIMIT_EXCEEDED,
    BUDGET,
    "no room",
    Window.DAY,
    Resource.MODEL_CALLS,
    limit=10,
    spent=9,
    held=0,
    requested=2,
    resets_in_ms=NEVER_MS,
)


class Clocked:
    """What is remembered, by a clock that the test moves, and the ledger that is told."""

    def __init__(self, ledger: ScriptedLedger, notes: Exhausted) -> None:
        self.ledger = ledger
        self.notes = notes

    def refused(self, answer: wire.Refused = REFUSED, session: Session = MINE, age_s: float = 0.0) -> None:
        asked_at_s = asyncio.get_running_loop().time() - age_s
        self.notes.note(session, answer, asked_at_s, self.notes.changes)

    def answers(self, need: Amount = TWO, session: Session = MINE) -> wire.Refused | None:
        return self.notes.refusal(session, need)


@pytest.fixture
async def clocked(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Clocked]:
    monkeypatch.setattr(exhausted, "TOLD_AFTER_S", 0.01)
    monkeypatch.setattr(exhausted, "REMEMBERED_S", NEVER_MS / 1000)  # but where a test says how old one is
    ledger = ScriptedLedger(lambda _: wire.RefusalsCounted())
    async with ledger.client() as client:
        yield Clocked(ledger, Exhausted(client))


def a_copy(**changed: object) -> wire.Refused:
    return msgspec.structs.replace(REFUSED, **changed)


async def test_a_repeat_is_refused_in_the_ledgers_place_and_says_what_it_needs(clocked: Clocked) -> None:
    clocked.refused()
    again = clocked.answers(THREE)
    assert again is not None
    assert (again.requested, again.spent, again.limit, again.account) == (3, 9, 10, BUDGET)
    assert again.message == "budget/n/b allows 10 modelCalls in a day: 9 modelCalls spent, 3 modelCalls needed"
    assert again.resets_in_ms is not None
    assert 0 < again.resets_in_ms <= NEVER_MS


async def test_what_fits_into_what_is_left_is_the_ledgers_to_answer(clocked: Clocked) -> None:
    clocked.refused()
    assert clocked.answers(ONE) is None
    assert clocked.answers(Amount(tokens=1000)) is None, "another resource"


@pytest.mark.parametrize(
    ("answer", "sibling_too"),
    [
        (REFUSED, True),
        (a_copy(account=AGENT), True),
        (a_copy(account=MINE.path, window=Window.LIFETIME, resets_in_ms=None), False),
        (a_copy(account="user/n/a/ada"), False),
    ],
)
async def test_it_is_remembered_for_those_whom_the_account_bounds(
    clocked: Clocked, answer: wire.Refused, sibling_too: bool
) -> None:
    clocked.refused(answer)
    assert clocked.answers() is not None
    assert (clocked.answers(session=SIBLING) is not None) is sibling_too
    assert clocked.answers(session=STRANGER) is None


@pytest.mark.parametrize(
    "answer",
    [
        a_copy(window=Window.MINUTE),
        a_copy(reason=wire.RefusalReason.PARKED),
        wire.Refused(wire.RefusalReason.SESSION_ENDED, MINE.path, "over", ended=SessionEnd.KILLED),
        wire.Refused(wire.RefusalReason.STORAGE_FULL, BUDGET, "full"),
    ],
)
async def test_nothing_else_is_remembered(clocked: Clocked, answer: wire.Refused) -> None:
    clocked.refused(answer)
    assert clocked.answers() is None


async def test_none_is_remembered_for_longer_than_a_second(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED_S == 1.0
    monkeypatch.setattr(exhausted, "REMEMBERED_S", REMEMBERED_S)
    clocked.refused(age_s=1.0)
    assert clocked.answers() is None


async def test_none_is_remembered_beyond_its_window(clocked: Clocked) -> None:
    clocked.refused(a_copy(resets_in_ms=500), age_s=0.5)
    assert clocked.answers() is None


@pytest.mark.parametrize(
    "event", [wire.LimitsChanged("budget/n/elsewhere"), wire.AccountWoken(MINE.path), wire.Resynchronised()]
)
async def test_what_may_make_room_forgets_it_and_what_was_asked_before(clocked: Clocked, event: wire.AnyEvent) -> None:
    clocked.refused()
    before = clocked.notes.changes
    clocked.notes.on_event(event)
    assert clocked.answers() is None
    clocked.notes.note(MINE, REFUSED, asyncio.get_running_loop().time(), before)
    assert clocked.answers() is None, "the answer was under way when room was made"


async def test_the_end_of_a_session_forgets_what_is_its_own(clocked: Clocked) -> None:
    clocked.refused(a_copy(account=MINE.path))
    clocked.notes.on_event(wire.SessionKilled(MINE.path, "Killed"))
    assert clocked.answers() is None


async def test_the_ledger_is_told_how_many_were_refused_in_its_place(clocked: Clocked) -> None:
    clocked.refused()
    for _ in range(25):
        assert clocked.answers() is not None
    async with asyncio.timeout(30):
        await clocked.ledger.arrived(1)
    assert clocked.ledger.ops == [wire.CountRefusals(BUDGET, Window.DAY, Resource.MODEL_CALLS, 25)]


async def test_a_session_whose_answer_was_cut_is_refused_whatever_little_it_asks_for_and_no_other_is(
    clocked: Clocked,
) -> None:
    clocked.notes.cut(MINE, REFUSED)
    refused = clocked.notes.after_a_cut(MINE)
    assert refused is not None
    assert (refused.account, refused.limit, refused.spent) == (BUDGET, 10, 9)
    assert "was cut there" in refused.message
    assert clocked.notes.after_a_cut(SIBLING) is None


async def test_a_cut_is_forgotten_once_its_window_is_over(clocked: Clocked) -> None:
    clocked.notes.cut(MINE, a_copy(resets_in_ms=0))
    assert clocked.notes.after_a_cut(MINE) is None


@pytest.mark.parametrize(
    "event",
    [
        wire.LimitsChanged(BUDGET),
        wire.AccountWoken(MINE.path),
        wire.Resynchronised(),
        wire.SessionKilled(MINE.path, ""),
    ],
)
async def test_a_cut_is_forgotten_once_there_may_be_more(clocked: Clocked, event: wire.AnyEvent) -> None:
    clocked.notes.cut(MINE, REFUSED)
    clocked.notes.on_event(event)
    assert clocked.notes.after_a_cut(MINE) is None


async def test_after_a_cut_the_ledger_is_not_asked_though_it_would_grant() -> None:
    ledger = ScriptedLedger()
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with ledger.client() as client:
        ours = Admitting.over(client, hold_expires_in_ms=NEVER_MS, hold_ahead=True)
        ours.admission.exhausted.cut(MINE, REFUSED)
        with pytest.raises(RefusedCall) as refused:
            await ours.admission.hold(MINE, ONE, ONE, gone)
        assert (refused.value.status, refused.value.retry_after_s) == (402, None)
        assert ledger.ops == []
        assert (await ours.admission.hold(SIBLING, ONE, ONE, gone)).amount == ONE


def calls_a_day(limit: int, *top_ups: wire.TopUp) -> wire.PutAccount:
    return wire.PutAccount(BUDGET, (Limit(Window.LIFETIME, Resource.MODEL_CALLS, limit),), top_ups=top_ups)


TOP_UP = wire.TopUp("more", Window.LIFETIME, Resource.MODEL_CALLS, 1)
CORRECTED = wire.Adjust(BUDGET, Resource.MODEL_CALLS, -1, "a refund", "ada")


@pytest.mark.parametrize(
    "room", [calls_a_day(2), calls_a_day(1, TOP_UP), CORRECTED], ids=["limit", "top-up", "adjustment"]
)
async def test_what_makes_room_is_heard_of_and_the_next_call_is_admitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: wire.PutAccount | wire.Adjust
) -> None:
    monkeypatch.setattr(exhausted, "REMEMBERED_S", 3600.0)  # so that nothing but the event is of any help
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard = asyncio.Event()

    def hear(event: wire.AnyEvent) -> None:
        if isinstance(event, wire.LimitsChanged | wire.Resynchronised):
            heard.set()

    async with running(tmp_path / "data") as server, server.client("operator") as operator, server.client() as client:
        await operator.put_account(calls_a_day(1))
        await operator.put_account(wire.PutAccount(AGENT, (), BUDGET))
        await client.open(wire.Open(MINE.path, AGENT, NEVER_MS))
        ours = Admitting.over(client, hold_expires_in_ms=NEVER_MS, hold_ahead=False)
        ours.events.subscribe(hear)
        following = asyncio.create_task(ours.events.run())
        await heard.wait()
        used = await ours.admission.hold(MINE, ONE, ONE, gone)
        await client.settle(wire.Settle(used.id, ONE))
        for _ in range(3):
            with pytest.raises(RefusedCall, match="1 modelCalls spent") as refused:
                await ours.admission.hold(MINE, ONE, ONE, gone)
            assert refused.value.status == 402
        assert ours.admission.exhausted.refusal(MINE, ONE) is not None, "the ledger was asked each time"
        heard.clear()
        if isinstance(room, wire.Adjust):
            await operator.adjust(room)
        else:
            await operator.put_account(room)
        async with asyncio.timeout(30):
            await heard.wait()
        assert (await ours.admission.hold(MINE, ONE, ONE, gone)).amount == ONE
        following.cancel()

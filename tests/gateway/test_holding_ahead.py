"""What is held ahead of calls, who finds it, and when it is given back: production admission over a scripted ledger."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambit.gateway.admission import Admission, ClientGone
from ambit.gateway.holding_ahead import HoldingAhead, ahead
from ambit.gateway.holding_ahead.estimate import likely_next, missing
from ambit.gateway.holds import Hold
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.settlements import Settlements
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import MAX_AMOUNT, Amount, Resource, Window
from ambit.ledger.client import LedgerClient
from ambit.telemetry import tracing
from ambit.telemetry.reasons import SessionEnd
from ambit.telemetry.tracing import SpanName
from tests.ledger.scripted import Answer, ScriptedLedger, kinds
from tests.telemetry.in_memory import in_memory

PATH, PARENT = "session/n/s", "agent/n/a"
SESSION = Session(PATH, PARENT, None, None)


def a_call(tokens: int) -> Amount:
    """What a call of so many tokens wants held."""
    return Amount(usd_nanos=1000 * tokens, tokens=tokens, model_calls=1)


# -- how much --------------------------------------------------------------------
def test_nothing_is_guessed_of_a_session_without_calls() -> None:
    assert likely_next(()) is None


def test_the_next_call_needs_what_the_last_did_and_the_step_that_its_prompt_grew_by() -> None:
    assert likely_next((a_call(1000),)) == Amount(usd_nanos=1_500_000, tokens=1500, model_calls=1)
    assert likely_next((a_call(1000), a_call(1400))) == Amount(usd_nanos=2_000_000, tokens=2000, model_calls=1)
    assert likely_next((a_call(8000), a_call(8010))) == Amount(usd_nanos=10_012_500, tokens=10_012, model_calls=1)
    assert likely_next((a_call(8000),) * 4) == Amount(usd_nanos=9_000_000, tokens=9000, model_calls=1)


@given(st.lists(st.integers(0, MAX_AMOUNT), min_size=1, max_size=6))
def test_no_less_is_held_ahead_than_any_of_the_calls_wanted_and_one_call_is_one_call(tokens: list[int]) -> None:
    wanted = [Amount(tokens=count, model_calls=1) for count in tokens]
    likely = likely_next(wanted)
    assert likely is not None
    assert all(likely.covers(amount) for amount in wanted)
    assert likely.tokens <= MAX_AMOUNT
    assert likely.model_calls == 1


def test_an_agent_whose_prompt_grows_evenly_finds_each_call_held() -> None:
    sizes = [2000 + 700 * turn for turn in range(40)]
    for turn in range(2, len(sizes)):
        likely = likely_next([a_call(size) for size in sizes[max(0, turn - 4) : turn]])
        assert likely is not None
        assert likely.covers(a_call(sizes[turn]))


def test_what_is_missing_is_what_is_not_held() -> None:
    assert missing(a_call(5), a_call(3)) == Amount(usd_nanos=2000, tokens=2)
    assert missing(a_call(3), a_call(5)) == Amount()


# -- taking, extending, giving back --------------------------------------------------
@dataclass
class Rig:
    """The production parts around a ledger that answers as the test says."""

    ledger: ScriptedLedger
    client: LedgerClient
    queue: RoomQueue
    settlements: Settlements
    ahead: HoldingAhead
    admission: Admission

    async def call(self, tokens: int = 100, session: Session = SESSION) -> Hold:
        """A call from its admission; the client stays."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return await self.admission.hold(session, a_call(tokens), a_call(min(tokens, 10)), gone)

    def end(self, hold: Hold, session: Session = SESSION) -> None:
        """The call has ended, having used one token."""
        self.settlements.settle(session.path, hold.id, a_call(1))
        self.ahead.ended(session.path, session.parent)

    async def called(self, tokens: int = 100) -> None:
        """One whole call, and what is held ahead after it is there."""
        self.end(await self.call(tokens))
        await self.held()

    async def held(self, count: int = 1) -> None:
        """Waits until so much is held ahead."""
        while True:
            if self.ahead.unused == count:
                return
            await asyncio.sleep(0)

    async def quiet(self) -> list[str]:
        """Everything is settled and released; what kinds of operations there were since the last time."""
        assert await self.settlements.finish(5)
        seen = kinds(self.ledger.ops)
        self.ledger.batches.clear()
        return seen


@asynccontextmanager
async def a_rig(*, on: bool = True, unused_s: float = 15.0, trusted_s: float = 60.0) -> AsyncGenerator[Rig]:
    ledger = ScriptedLedger()
    async with ledger.client() as client:
        queue, warnings = RoomQueue(), Warnings()
        settlements = Settlements(client, queue.freed, warnings)
        holding = HoldingAhead(
            client,
            settlements,
            warnings,
            hold_expires_in_ms=60_000,
            held_up=lambda session, parent: queue.account_in_the_way(session, parent) is not None,
            on=on,
            unused_s=unused_s,
            trusted_s=trusted_s,
        )
        admission = Admission(
            client,
            settlements,
            queue,
            holding,
            warnings,
            hold_expires_in_ms=60_000,
            utc_now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            queue_s=0.3,
        )
        holding.heard()
        yield Rig(ledger, client, queue, settlements, holding, admission)
        ledger.let_go()
        assert await settlements.finish(5)


def refuse_all(reason: wire.RefusalReason = wire.RefusalReason.LIMIT_EXCEEDED) -> Answer:
    """Nothing more is held; what is held can be released."""

    def answer(op: wire.AnyOperation) -> wire.AnyResult:
        if isinstance(op, wire.Release):
            return wire.Released()
        return wire.Refused(reason, PARENT, "no room", Window.DAY, Resource.TOKENS, 10, 10, 0, 1)

    return answer


async def test_the_next_call_finds_its_hold_and_asks_nobody() -> None:
    async with a_rig() as rig:
        await rig.called()
        assert await rig.quiet() == ["Reserve", "Settle", "Reserve"]
        rig.ledger.hold_back()
        second = rig.call()
        with pytest.raises(StopIteration) as found:
            second.send(None)  # it is decided without once giving the loop back
        hold = found.value.value
        assert hold.amount.covers(a_call(100))
        rig.end(hold)
        rig.ledger.let_go()
        assert await rig.quiet() == ["Settle", "Reserve"]


async def test_what_is_held_ahead_is_speculative_until_it_is_extended() -> None:
    async with a_rig() as rig:
        await rig.called()
        assert [op.speculative for op in rig.ledger.ops if isinstance(op, wire.Reserve)] == [False, True]


async def test_a_call_that_comes_while_its_hold_is_asked_for_waits_for_that() -> None:
    async with a_rig() as rig:
        rig.end(await rig.call())
        await rig.quiet()
        rig.ledger.batches.clear()
        hold = await rig.call()
        assert rig.ledger.ops == []
        rig.end(hold)


async def test_a_second_call_at_once_asks_for_itself() -> None:
    async with a_rig() as rig:
        first, second = await asyncio.gather(rig.call(), rig.call())
        rig.end(first)
        rig.end(second)
        third, fourth = await asyncio.gather(rig.call(), rig.call())
        assert len({first.id, second.id, third.id, fourth.id}) == 4
        assert [op.speculative for op in rig.ledger.ops if isinstance(op, wire.Reserve)] == [False, False, True, False]


async def test_a_call_that_needs_more_than_is_held_ahead_extends_it_by_that() -> None:
    async with a_rig() as rig:
        await rig.called(100)
        await rig.quiet()
        hold = await rig.call(1000)
        assert [op for op in rig.ledger.ops if isinstance(op, wire.Extend)] == [
            wire.Extend(hold.id, 1, 60_000, want=Amount(usd_nanos=850_000, tokens=850))
        ]
        assert hold.amount == a_call(1000)
        assert hold.next_sequence == 2


async def test_where_there_is_no_room_for_more_the_whole_is_asked_for_so_that_the_refusal_is_exact() -> None:
    async with a_rig() as rig:
        await rig.called(100)
        await rig.quiet()
        rig.ledger.answer = refuse_all()
        with pytest.raises(RefusedCall) as refused:
            await rig.call(1000)
        assert (refused.value.status, rig.ahead.unused) == (402, 0)
        assert await rig.quiet() == ["Extend", "Release", "Reserve"]


async def test_what_nobody_uses_is_given_back() -> None:
    async with a_rig(unused_s=0.02) as rig:
        await rig.called()
        await rig.quiet()
        async with asyncio.timeout(60):
            await rig.ledger.arrived(1)
        assert (kinds(rig.ledger.ops), rig.ahead.unused) == (["Release"], 0)


async def test_what_is_used_is_not_given_back_by_the_clock_or_a_recall() -> None:
    async with a_rig(unused_s=0.02) as rig:
        await rig.called()
        hold = await rig.call()
        await rig.quiet()
        rig.ahead.on_event(wire.Recalled((hold.id,)))
        await asyncio.sleep(0.03)
        assert rig.ledger.ops == []


@pytest.mark.parametrize(
    "event",
    [
        wire.SessionKilled(PATH, "enough"),
        wire.SessionEnded(PATH, SessionEnd.COMPLETED),
        wire.Resynchronised(),
        "Recalled",
    ],
)
async def test_the_ledgers_word_gives_back_what_is_not_in_use(event: wire.AnyEvent | str) -> None:
    async with a_rig() as rig:
        await rig.called()
        (held,) = [op.id for op in rig.ledger.ops if isinstance(op, wire.Reserve) and op.speculative]
        await rig.quiet()
        rig.ahead.on_event(wire.Recalled((held,)) if isinstance(event, str) else event)
        assert rig.ahead.unused == 0
        assert await rig.quiet() == ["Release"]


async def test_a_kill_that_is_heard_of_leaves_nothing_that_admits_a_call() -> None:
    async with a_rig() as rig:
        await rig.called()
        rig.ahead.on_event(wire.SessionKilled(PATH, "enough"))
        rig.ledger.answer = refuse_all(wire.RefusalReason.SESSION_ENDED)
        with pytest.raises(RefusedCall):
            await rig.call()


async def test_a_kill_that_is_not_heard_of_lets_a_hold_ahead_admit_nothing_either() -> None:
    """The ledger says nothing any more, so that nobody knows of a kill: each call asks."""
    assert ahead.SILENCE_MS / 1000 < ahead.TRUSTED_S < 0.1
    async with a_rig(trusted_s=0.01) as rig:
        await rig.called()
        await rig.quiet()
        await asyncio.sleep(0.02)
        assert not rig.ahead.trusted
        rig.ledger.answer = refuse_all(wire.RefusalReason.SESSION_ENDED)
        with pytest.raises(RefusedCall) as refused:
            await rig.call()
        assert refused.value.reason.value == "SessionEnded"
        assert await rig.quiet() == ["Extend", "Release", "Reserve"]


async def test_a_session_that_ends_while_its_hold_is_asked_for_is_left_none() -> None:
    async with a_rig() as rig:
        hold = await rig.call()
        rig.ledger.hold_back()
        rig.end(hold)
        rig.ahead.on_event(wire.SessionKilled(PATH, "enough"))
        rig.ledger.let_go()
        await rig.ledger.arrived(3)
        assert kinds(rig.ledger.ops) == ["Reserve", "Settle", "Reserve", "Release"]
        assert rig.ahead.unused == 0


async def test_a_hold_that_comes_too_late_is_given_back() -> None:
    async with a_rig(unused_s=0.01) as rig:
        hold = await rig.call()
        rig.ledger.hold_back()
        rig.end(hold)
        asked = rig.ahead.asked_for(PATH)
        assert asked is not None
        await asyncio.sleep(0.02)
        rig.ledger.let_go()
        await asked
        assert rig.ahead.unused == 0
        assert (await rig.quiet())[-1] == "Release"


async def test_nothing_is_held_ahead_while_calls_wait_for_that_room() -> None:
    async with a_rig() as rig:
        hold = await rig.call()
        ticket = rig.queue.enter(PARENT, "session/n/other", PARENT)
        rig.end(hold)
        assert await rig.quiet() == ["Reserve", "Settle"]
        rig.queue.leave(ticket)


async def test_a_session_that_opens_is_held_for_as_its_agents_calls_were() -> None:
    async with a_rig() as rig:
        rig.end(await rig.call(400))
        rig.ahead.opened("session/n/new", PARENT)
        rig.ahead.opened("session/n/stranger", "agent/n/unknown")
        await rig.quiet()
        await rig.held(2)
        hold = rig.ahead.take("session/n/new")
        assert hold is not None
        assert hold.amount == a_call(600)
        assert rig.ahead.take("session/n/stranger") is None


async def test_a_client_that_is_gone_leaves_its_hold_ahead_to_nobody() -> None:
    async with a_rig() as rig:
        await rig.called()
        await rig.quiet()
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.set_result(None)
        with pytest.raises(ClientGone):
            await rig.admission.hold(SESSION, a_call(100), a_call(10), gone)
        assert await rig.quiet() == ["Release"]


async def test_a_process_that_stops_gives_everything_back() -> None:
    async with a_rig() as rig:
        await rig.called()
        other = Session("session/n/other", PARENT, None, None)
        hold = await rig.call(session=other)
        await rig.quiet()
        rig.end(hold, other)
        await rig.ahead.stop(5)
        assert await rig.quiet() == ["Settle", "Reserve", "Release", "Release"], "also what was just being asked for"
        rig.end(await rig.call())
        assert await rig.quiet() == ["Reserve", "Settle"]


async def test_it_can_be_turned_off() -> None:
    async with a_rig(on=False) as rig:
        for _ in range(3):
            rig.end(await rig.call())
        rig.ahead.opened("session/n/new", PARENT)
        assert await rig.quiet() == ["Reserve", "Settle"] * 3


async def test_what_the_ledger_warns_of_waits_for_the_sessions_next_response() -> None:
    warning = wire.Warned("budget/n/b", Window.DAY, Resource.USD, 80)
    warnings = Warnings()
    warnings.add(PATH, (warning,))
    warnings.add(PATH, (warning,))
    warnings.add("session/n/other", ())
    assert warnings.take("session/n/other") == ()
    assert warnings.take(PATH) == ((b"x-ambit-warning", b"budget/n/b; resource=usd; window=Day; percent=80"),)
    assert warnings.take(PATH) == ()


# -- traces ------------------------------------------------------------------------
async def _ledgers(rig: Rig) -> None:
    await rig.call()


async def _found(rig: Rig) -> None:
    await rig.called()
    await rig.call()


async def _awaited(rig: Rig) -> None:
    rig.end(await rig.call())
    await rig.call()


async def _extended(rig: Rig) -> None:
    await rig.called(100)
    await rig.call(1000)


async def _queued(rig: Rig) -> None:
    def full(_: wire.AnyOperation) -> wire.AnyResult:
        return wire.Wait(wire.RefusalReason.LIMIT_EXCEEDED, PARENT, "no room")

    rig.ledger.answer = full
    with pytest.raises(RefusedCall):
        await rig.call()


@pytest.mark.parametrize(
    ("call", "hold", "trusted_s"),
    [
        (_ledgers, "Ledger", 60.0),
        (_found, "Found", 60.0),
        (_awaited, "Awaited", 60.0),
        (_extended, "Extended", 60.0),
        (_found, "Confirmed", -1.0),  # the ledger was heard too long ago, always
        (_queued, "Queued", 60.0),
    ],
)
async def test_the_span_of_an_admission_says_where_its_hold_is_from(
    call: Callable[[Rig], Awaitable[None]], hold: str, trusted_s: float
) -> None:
    with in_memory() as memory:
        async with a_rig(trusted_s=trusted_s) as rig:
            with tracing.span(SpanName.MODEL_CALL):
                await call(rig)
        (*_, last) = [span for span in memory.stop() if span.name == "admission"]
    assert (last.attributes or {})["ambit.hold"] == hold
    assert [event.name for event in last.events] == (["queued"] if hold == "Queued" else [])


async def test_what_is_held_ahead_is_in_no_calls_trace() -> None:
    with in_memory() as memory:
        async with a_rig(unused_s=0.02) as rig:
            with tracing.span(SpanName.MODEL_CALL):
                await rig.called()
            await rig.held(0)  # it is given back
            await rig.quiet()
        names = [span.name for span in memory.stop()]
    assert sorted(names) == ["admission", "model call", "settlement"]

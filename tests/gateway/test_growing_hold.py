"""A hold that is kept and grown: what it asks, when it is over, and who is told. Over a scripted ledger."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from ambit.gateway.holds import Hold
from ambit.gateway.progressive import Caller, Cover, Ended, GrowingHold, Over
from ambit.gateway.progressive.slices import LEAD_TOKENS, SLICE_TOKENS, UNDER_WAY_TOKENS
from ambit.gateway.room_queue import RoomQueue
from ambit.gateway.warnings import Warnings
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Resource, Window
from tests.ledger.scripted import ScriptedLedger

PATH, PARENT, BUDGET = "session/n/s", "agent/n/a", "budget/n/b"
INPUT, HELD, WHOLE = 1_000, 10_000, 64_000
ALL_QUIET = HELD - LEAD_TOKENS - UNDER_WAY_TOKENS
"""Up to so much has been shown, nothing is asked."""
REFUSED = wire.Refused(
    wire.RefusalReason.LIMIT_EXCEEDED, BUDGET, "spent", Window.DAY, Resource.TOKENS, 100_000, 99_000, 11_000, 512
)
WAIT = wire.Wait(
    wire.RefusalReason.LIMIT_EXCEEDED, BUDGET, "held", Window.DAY, Resource.TOKENS, 200_000, 0, 200_000, 512
)


class Price:
    """A token is a token."""

    def amount(self, output_tokens: int) -> Amount:
        return Amount(tokens=INPUT + output_tokens, model_calls=1)

    def covered(self, held: Amount) -> int:
        return held.tokens - INPUT


@dataclass
class Rig:
    ledger: ScriptedLedger
    queue: RoomQueue
    hold: GrowingHold
    ended: list[Ended] = field(default_factory=list[Ended])
    so_far: int = 0

    def show(self, output_bound: int) -> None:
        """The stream comes to this point, a little at a time."""
        while self.so_far < output_bound:
            self.so_far = min(self.so_far + 500, output_bound)
            self.hold.shown(self.so_far)

    async def asked(self, count: int) -> list[wire.Extend]:
        """Waits until so many extensions were asked for and answered."""
        await self.ledger.arrived(count)
        for _ in range(10):  # no time passes
            await asyncio.sleep(0)
        extends = [op for op in self.ledger.ops if isinstance(op, wire.Extend)]
        assert len(extends) == count
        return extends


@asynccontextmanager
async def a_rig(
    *answers: wire.AnyResult, held: int = HELD, whole: int = WHOLE, expires_in_ms: int = 600_000, deadline_s: float = 10
) -> AsyncGenerator[Rig]:
    """`answers` come first; from then on all is granted."""
    left = list(answers)

    def answer(op: wire.AnyOperation) -> wire.AnyResult:
        assert isinstance(op, wire.Extend)
        return left.pop(0) if left else wire.Granted(op.want)

    ledger = ScriptedLedger(answer)
    async with ledger.client(deadline_s) as client:
        queue, ended = RoomQueue(), list[Ended]()
        loop = asyncio.get_running_loop()
        amount = Price().amount(held)
        growing = GrowingHold(
            client,
            queue,
            Warnings(),
            Caller(PATH, PARENT, queue.arrived()),
            Hold("h#1", amount, loop.time() + expires_in_ms / 1000),
            Cover(held, whole),
            Price(),
            expires_in_ms=expires_in_ms,
            over=ended.append,
        )
        yield Rig(ledger, queue, growing, ended)
        growing.stop()
        for _ in range(3):
            await asyncio.sleep(0)
        assert queue.waiting == 0


async def test_it_asks_for_a_slice_before_the_last_one_is_used_up() -> None:
    async with a_rig() as rig:
        rig.show(ALL_QUIET)
        for _ in range(10):
            await asyncio.sleep(0)
        assert rig.ledger.ops == []
        rig.show(ALL_QUIET + 1)
        [extend] = await rig.asked(1)
        assert extend.want == Amount(tokens=SLICE_TOKENS)
        rig.show(HELD + SLICE_TOKENS - UNDER_WAY_TOKENS)
        assert (await rig.asked(2))[1].sequence == 2
        assert rig.ended == []
        assert rig.hold.most == HELD + 2 * SLICE_TOKENS


async def test_it_is_over_where_the_ledger_does_not_answer_before_the_slice_is_used_up() -> None:
    async with a_rig() as rig:
        rig.ledger.hold_back()
        rig.show(ALL_QUIET + 1)
        await rig.ledger.arrived(1)
        rig.show(HELD - UNDER_WAY_TOKENS)
        assert rig.ended == []
        rig.show(HELD - UNDER_WAY_TOKENS + 1)
        assert [ended.over for ended in rig.ended] == [Over.USED_UP]
        assert rig.ended[0].spent is None
        assert rig.hold.most == HELD
        rig.show(HELD * 2)
        assert len(rig.ended) == 1, "it is told once"


async def test_refused_it_goes_on_to_the_end_of_what_is_held_and_says_which_limit_is_spent() -> None:
    async with a_rig(REFUSED) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.asked(1)
        rig.show(HELD - UNDER_WAY_TOKENS)
        assert rig.ended == []
        rig.show(HELD)
        assert rig.ended == [Ended(Over.USED_UP, "spent", REFUSED)]
        await rig.asked(1)


async def test_room_that_only_it_itself_holds_is_not_waited_for() -> None:
    alone = wire.Wait(
        wire.RefusalReason.LIMIT_EXCEEDED, BUDGET, "full", Window.DAY, Resource.TOKENS, 11_500, 0, INPUT + HELD, 512
    )
    async with a_rig(alone) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.asked(1)
        assert rig.queue.waiting == 0
        rig.show(HELD)
        assert rig.ended == [Ended(Over.USED_UP, "full", alone)]


async def test_it_waits_for_room_before_all_calls_that_begin_and_goes_on_when_there_is() -> None:
    async with a_rig(WAIT) as rig:
        waiting = rig.queue.enter(BUDGET, "session/n/other", PARENT)
        rig.show(ALL_QUIET + 1)
        await rig.asked(1)
        assert rig.queue.waiting == 2
        assert not rig.queue.may_ask(waiting), "whoever goes on comes first"
        rig.queue.freed()
        await rig.asked(2)
        assert rig.queue.waiting == 1
        assert rig.queue.may_ask(waiting)
        rig.show(HELD)
        assert rig.ended == []
        rig.queue.leave(waiting)


async def test_of_two_streams_the_older_one_has_its_slice_first() -> None:
    queue = RoomQueue()
    older, younger = queue.arrived(), queue.arrived()
    second = queue.enter_under_way(BUDGET, "session/n/2", PARENT, younger)
    first = queue.enter_under_way(BUDGET, "session/n/1", PARENT, older)
    assert (queue.may_ask(first), queue.may_ask(second)) == (True, False)


async def test_it_is_over_where_it_waits_for_others_and_the_slice_is_used_up() -> None:
    async with a_rig(*[WAIT] * 50) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.ledger.arrived(1)
        for _ in range(10):
            await asyncio.sleep(0)
        rig.show(HELD)
        [ended] = rig.ended
        assert (ended.over, ended.spent) == (Over.USED_UP, None)
        assert "calls under way hold the rest" in ended.message


async def test_what_cannot_be_seen_is_held_whole_at_once() -> None:
    async with a_rig() as rig:
        rig.hold.blind()
        [extend] = await rig.asked(1)
        assert extend.want == extend.at_least == Amount(tokens=WHOLE - HELD)
        assert (rig.ended, rig.hold.most) == ([], WHOLE)


@pytest.mark.parametrize("answer", [REFUSED, WAIT])
async def test_what_cannot_be_seen_waits_for_nobody(answer: wire.AnyResult) -> None:
    async with a_rig(answer) as rig:
        rig.hold.blind()
        await rig.asked(1)
        assert [ended.over for ended in rig.ended] == [Over.USED_UP]


async def test_what_can_be_seen_again_needs_no_more_than_it_shows() -> None:
    async with a_rig() as rig:
        rig.hold.blind()
        rig.show(100)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (rig.ledger.ops, rig.ended) == ([], [])


async def test_for_a_client_that_is_gone_nothing_more_is_held() -> None:
    async with a_rig() as rig:
        rig.hold.no_more()
        rig.show(HELD - UNDER_WAY_TOKENS)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (rig.ledger.ops, rig.ended) == ([], [])
        rig.show(HELD - UNDER_WAY_TOKENS + 1)
        assert [ended.over for ended in rig.ended] == [Over.USED_UP]


async def test_a_ledger_that_says_that_holds_are_full_grants_no_more_and_loses_nothing() -> None:
    async with a_rig(wire.Invalid("cannot grow: an account above it has holds: Full")) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.asked(1)
        assert rig.ended == []
        rig.show(HELD)
        assert [ended.over for ended in rig.ended] == [Over.USED_UP]


async def test_a_hold_that_is_over_at_the_ledger_is_lost() -> None:
    async with a_rig(wire.UnknownHold("h#1")) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.asked(1)
        assert [ended.over for ended in rig.ended] == [Over.LOST]


async def test_its_expiry_is_moved_also_while_it_waits_for_room() -> None:
    async with a_rig(WAIT, expires_in_ms=3_000) as rig:
        rig.show(ALL_QUIET + 1)
        await rig.ledger.arrived(1)

        def keeps(op: wire.AnyOperation) -> wire.AnyResult:
            moved = isinstance(op, wire.Extend) and op.want == Amount()
            return wire.Granted(Amount()) if moved else WAIT

        rig.ledger.answer = keeps
        while not any(isinstance(op, wire.Extend) and op.want == Amount() for op in rig.ledger.ops):
            await rig.ledger.arrived(len(rig.ledger.batches) + 1)
        assert rig.ended == []


async def test_what_was_not_answered_is_asked_again_in_the_same_words() -> None:
    async with a_rig(deadline_s=0.05) as rig:
        rig.ledger.hold_back()
        rig.show(ALL_QUIET + 1)
        await rig.ledger.arrived(1)
        rig.show(ALL_QUIET + 500)
        await asyncio.sleep(0.06)  # its deadline is over
        rig.ledger.let_go()
        await rig.ledger.arrived(2)
        async with asyncio.timeout(60):
            while rig.hold.most == HELD:  # noqa: ASYNC110 -- nothing tells when it has grown
                await asyncio.sleep(0.001)
        first, *again = [op for op in rig.ledger.ops if isinstance(op, wire.Extend)]
        assert all(op == first for op in again)
        assert rig.ended == []

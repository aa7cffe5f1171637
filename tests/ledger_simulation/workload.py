"""What gateways ask for: their callers open sessions and live through calls of every kind."""

import asyncio

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, covers, plus, split
from ambit.ledger.client import AccountUnknown, InvalidOperation, LedgerError, LedgerUnavailable
from ambit.telemetry.reasons import SessionEnd
from tests.ledger_simulation.books import Act, total
from tests.ledger_simulation.holders import Holder, Left
from tests.ledger_simulation.setting import HOUR_MS, LIFES_MS, part_of, pick

LONG_AGO_S = 1200.0
"""Most holds have expired by then, and idle sessions have folded."""


class Gateway(Holder):
    """Callers who open sessions and live through calls."""

    async def live(self, callers: int) -> None:
        """Until there is nothing more to do."""
        async with self.client:
            await asyncio.gather(*(self._caller() for _ in range(callers)))

    async def _caller(self) -> None:
        day = self._shared.day
        await self._shared.ready.wait()
        while day.more():
            await day.turn(self.process)
            try:
                await self._something()
            except LedgerUnavailable as error:
                self.say(f"gave up: {error}")
            except LedgerError as error:
                self.say(f"was told: {error}")
            finally:
                day.done(self.process)
            await self._pause()

    async def _pause(self) -> None:
        what = self._random.random()
        await asyncio.sleep(
            0 if what < 0.7 else 0.004 * self._random.random() if what < 0.99 else self._random.random()
        )

    async def _something(self) -> None:
        shared, random = self._shared, self._random
        if shared.left and shared.late.random() < (0.5 if self._is_long_ago(shared.left[0]) else 0.01):
            await self._report_late(shared.left.pop(0).act)
            return
        if shared.late.random() < 0.01:
            await self._one_call_of_a_sub_session()
            return
        what = random.random()
        if what < 0.08 or not shared.live:
            await self._open()
            return
        session = pick(random, shared.live[-12:])
        try:
            if what < 0.11:
                await self.client.close(wire.Close(session, SessionEnd.COMPLETED))
                shared.over(session)
            elif what < 0.15:
                await self._look(session)
            elif what < 0.17:
                await self.client.kill(wire.Kill(session, "enough", "ada"))
                shared.over(session)
            elif what < 0.20:
                await self._named_hold(session)
            else:
                await self._call(session)
        except AccountUnknown:
            shared.over(session)
            raise

    async def _open(self) -> None:
        shared, random, setting = self._shared, self._random, self._shared.setting
        shared.opened += 1
        path = f"session/n/s{shared.opened}"
        parent, agent = pick(random, tuple(setting.agents) + tuple(setting.budgets)[-1:]), None
        if shared.sessions and random.random() < 0.15:
            parent = pick(random, shared.live[-12:] or shared.sessions)
            agent = pick(random, tuple(setting.agents)) if random.random() < 0.7 else None
        grace_ms = 2000 if random.random() < 0.2 else 24 * HOUR_MS
        limits = setting.limits(random, only_lifetime=True)
        user = pick(random, ("ada", "bob"))
        labels = {"team": pick(random, ("red", "blue"))} if random.random() < 0.3 else {}
        if shared.sessions and random.random() < 0.1:
            path = pick(random, shared.sessions)  # whoever opens it again does not begin it anew
        answer = await self.client.open(wire.Open(path, parent, grace_ms, limits, {}, user, labels, agent))
        if isinstance(answer, wire.Opened) and not answer.already:
            shared.sessions.append(path)
            shared.live.append(path)

    async def _look(self, session: str) -> None:
        before = [(act, act.surely_itself()) for act in self._shared.books.at(session)]
        usage = await self.client.usage(wire.GetUsage(session))
        # What was so before and after: meanwhile some were settled, and others extended.
        surely = total(split(then, act.surely_itself())[0] for act, then in before)
        if not self._shared.day.was_folded(session) and not covers(
            plus(usage.spent.vector(), usage.held.vector()), surely
        ):
            self._shared.day.fail(f"{session} counts {usage.spent} spent and {usage.held} held; used was {surely}")

    async def _named_hold(self, session: str) -> None:
        shared, random = self._shared, self._random
        shared.named += 1
        want = shared.setting.amount(random)
        op = wire.Reserve(f"runtime-{shared.named}", session, want, want, pick(random, LIFES_MS))
        granted = await self.client.reserve(op)
        if isinstance(granted, wire.Granted):
            act = shared.books.begin(op.id, session, granted.amount.vector())
            await self._pause()
            await self._finish(act)

    async def _call(self, session: str) -> None:
        shared, random = self._shared, self._random
        want = shared.setting.amount(random)
        at_least = part_of(random, want) if random.random() < 0.5 else want
        if not any(at_least.vector()):
            at_least = want
        lives_ms = pick(random, LIFES_MS)
        speculative = random.random() < 0.15
        held = await self.client.hold(session, want, at_least, lives_ms, speculative=speculative)
        if isinstance(held, wire.Refused | wire.Wait):
            if held.ended is not None or held.reason is wire.RefusalReason.ACCOUNT_REMOVED:
                shared.over(session)
            return
        act = shared.books.begin(held.id, session, held.granted.amount.vector())
        if random.random() < 0.1:
            await self._repeat(wire.Reserve(held.id, session, want, at_least, lives_ms, speculative), held.granted, act)
        sequence = 0
        if speculative and random.random() < 0.5:
            sequence = 1
            await self.client.extend(wire.Extend(act.id, 1, lives_ms))  # the call that it was for has come
        while random.random() < 0.3:
            await self._next_of_call()
            sequence += 1
            await self._extend(act, sequence)
        await self._next_of_call()
        await self._finish(act)

    async def _next_of_call(self) -> None:
        """A call takes its time, and the operations within it count like others."""
        self._shared.day.done(self.process)
        await self._pause()
        await self._shared.day.turn(self.process)

    async def _repeat(self, op: wire.Reserve, first: wire.Granted, act: Act) -> None:
        restores = self._shared.day.restores
        try:
            again = await self.client.reserve(op)
        except LedgerUnavailable:
            act.used = {}  # nothing was done yet, and the client gives back what nobody waits for
            raise
        if isinstance(again, wire.Granted) and again.amount != first.amount and restores == self._shared.day.restores:
            self._shared.day.fail(f"{op.id} was answered {first}, and its repeat {again}")

    async def _extend(self, act: Act, sequence: int) -> None:
        shared, random = self._shared, self._random
        want = shared.setting.amount(random)
        act.asked_more = True
        try:
            answer = await self.client.extend(
                wire.Extend(act.id, sequence, pick(random, LIFES_MS), want, part_of(random, want))
            )
        except InvalidOperation as error:
            self.say(f"was told: {error}")  # it is to be held in full, or is absurd
        else:
            if isinstance(answer, wire.Granted):
                act.granted = plus(act.granted, answer.amount.vector())
        act.asked_more = False

    async def _finish(self, act: Act) -> None:
        random = self._random
        what = random.random()
        if what < 0.06:
            return  # its holder forgets it: it expires, and is charged in full
        if what < 0.16:
            act.used = {}
            await self.client.release(wire.Release(act.id, "never sent"))
            return
        granted = Amount.of(act.granted)
        used = granted if what < 0.3 else part_of(random, granted)
        if what > 0.92:
            used += self._shared.setting.amount(random)
        act.used = used.vector()
        restores = self._shared.day.restores
        answer = await self.client.settle(wire.Settle(act.id, used))
        act.reported = act.reported or isinstance(answer, wire.Settled)
        if what > 0.85:
            again = await self.client.settle(wire.Settle(act.id, used))
            if isinstance(again, wire.Settled) and restores == self._shared.day.restores:
                self._shared.day.fail(f"{act.id} was settled twice")

    async def _one_call_of_a_sub_session(self) -> None:
        """It is reported when both sessions may be long over, and folded."""
        shared, client = self._shared, self.client
        shared.opened += 1
        above = f"session/n/s{shared.opened}"
        below = f"{above}-sub"
        agent = pick(shared.late, tuple(shared.setting.agents))
        await client.open(wire.Open(above, agent, 24 * HOUR_MS, (), user="ada"))
        await client.open(wire.Open(below, above, 24 * HOUR_MS, (), user="ada"))
        want = shared.setting.amount(shared.late)
        held = await client.hold(below, want, want, LIFES_MS[0])
        if not isinstance(held, wire.Refused | wire.Wait):
            act = shared.books.begin(held.id, below, held.granted.amount.vector())
            shared.left.append(Left(act, asyncio.get_running_loop().time()))
        for session in (below, above):
            await client.close(wire.Close(session, SessionEnd.COMPLETED))

    def _is_long_ago(self, left: Left) -> bool:
        return asyncio.get_running_loop().time() - left.at_s > LONG_AGO_S

    async def _report_late(self, act: Act) -> None:
        used = part_of(self._shared.late, Amount.of(act.granted))
        act.used = used.vector()
        answer = await self.client.settle(wire.Settle(act.id, used))
        act.reported = isinstance(answer, wire.Settled)

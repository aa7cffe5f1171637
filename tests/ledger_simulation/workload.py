"""What holders ask for: an operator edits the tree, and the callers of gateways live through calls of every kind."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, covers, plus, split
from ambit.ledger.client import AccountUnknown, InvalidOperation, LedgerClient, LedgerError, LedgerUnavailable
from ambit.telemetry.reasons import SessionEnd
from tests.ledger_simulation.books import Act, Books, total
from tests.ledger_simulation.loop import Process
from tests.ledger_simulation.network import Network
from tests.ledger_simulation.setting import HOUR_MS, LIFES_MS, ZONES, Setting, part_of, pick


class Day(Protocol):
    """What the run is to its holders."""

    def more(self) -> bool:
        """Whether another operation is to be asked."""
        ...

    async def turn(self, process: Process) -> None:
        """Waits where the run wants quiet; from then on, something may go wrong."""
        ...

    def done(self, process: Process) -> None:
        """The operation that `turn` allowed is over."""
        ...

    def fail(self, what: str) -> None:
        """A rule is broken."""
        ...

    def was_folded(self, session: str) -> bool:
        """Whether the ledger has forgotten a session of that name."""
        ...

    def say(self, who: str, what: str) -> None:
        """For the trace."""
        ...


@dataclass(slots=True)
class Shared:
    """What all holders of a run share."""

    day: Day
    setting: Setting
    books: Books
    random: Random
    sessions: list[str]
    """Those that were opened."""
    live: list[str]
    """Those of which nobody has heard that they are over."""
    ready: asyncio.Event
    """The tree is made."""
    opened: int = 0
    named: int = 0

    def over(self, session: str) -> None:
        """Somebody heard that a session is over. At times it is asked of all the same."""
        if session in self.live and self.random.random() < 0.8:
            self.live.remove(session)


class Holder:
    """One process that speaks with the ledger through the production client."""

    def __init__(self, name: str, component: str, shared: Shared, network: Network) -> None:
        self.process = Process(name)
        self.process.owner = self
        self._component = component
        self._shared = shared
        self._random = shared.random
        self._network = network
        chance = Random(shared.random.getrandbits(64))
        self.client = LedgerClient.over(self._exchange, _no_events, chance=chance)

    async def _exchange(self, body: bytes) -> bytes:
        return await self._network.exchange(self.process.name, self._component, body)

    def say(self, what: str) -> None:
        self._shared.day.say(self.process.name, what)


class Operator(Holder):
    """Makes the tree, then edits it in every way."""

    async def live(self) -> None:
        """Until there is nothing more to do."""
        setting, random = self._shared.setting, self._random
        async with self.client:
            for path, parent in (*setting.budgets.items(), *setting.agents.items()):
                await self._put(path, parent, "Etc/UTC" if random.random() < 0.5 else pick(random, ZONES))
            self._shared.ready.set()
            day = self._shared.day
            while day.more():
                await day.turn(self.process)
                try:
                    await self._edit()
                except LedgerUnavailable as error:
                    self.say(f"gave up: {error}")
                except LedgerError as error:
                    self.say(f"was told: {error}")
                finally:
                    day.done(self.process)
                await asyncio.sleep(0.01 + random.random() * 0.05)

    async def _edit(self) -> None:
        setting, random = self._shared.setting, self._random
        parents: dict[str, str | None] = {**setting.budgets, **setting.agents}
        path = pick(random, tuple(parents))
        what = random.random()
        if what < 0.5:
            await self._put(path, parents[path], pick(random, ZONES) if random.random() < 0.3 else None)
        elif what < 0.6:
            await self._make_again(path, parents[path])
        elif what < 0.7:
            await self.client.kill(wire.Kill(path, "runs amok", "ada"))
        elif what < 0.75:
            amount = (int(random.random() * 13) - 8) * setting.scale
            await self.client.adjust(wire.Adjust(path, pick(random, setting.resources), amount, "billed wrong", "ada"))
        elif what < 0.8:
            await self.client.accept_clock(wire.AcceptClock("the node was moved", "ada"))
        elif what < 0.83:
            await self.client.history(wire.GetHistory(path))
        elif what < 0.86:
            await self.client.sessions(wire.ListSessions(path))
        else:
            await self.client.usage(wire.GetUsage(path))

    async def _make_again(self, path: str, parent: str | None) -> None:
        """Removes it and puts it back; at times under another Budget, with all that is under it."""
        setting, random = self._shared.setting, self._random
        while True:
            try:
                await self.client.remove_account(wire.RemoveAccount(path))
                break
            except LedgerUnavailable:
                continue
        if setting.moves and parent is not None and random.random() < 0.6:
            other = pick(random, tuple(setting.budgets))
            try:
                await self._put(path, other, None)
            except InvalidOperation as error:
                self.say(f"was told: {error}")  # it is under that itself
            else:
                setting.put_under(path, other)
                return
        await self._put(path, parent, None)

    async def _put(self, path: str, parent: str | None, zone: str | None) -> None:
        setting, random = self._shared.setting, self._random
        zone = zone or setting.zones.get(path, "Etc/UTC")
        put = wire.PutAccount(
            path,
            setting.limits(random),
            parent,
            zone,
            concurrent_sessions=1 + int(random.random() * 6) if random.random() < 0.1 else None,
            enforcement=wire.Enforcement.SHADOW if random.random() < 0.06 else wire.Enforcement.ENFORCE,
            warn_at=pick(random, ((50, 100), (80,), ())) if setting.warns else (),
            top_ups=setting.topped_up(random, path),
            when_exhausted=pick(random, setting.when_exhausted),
            holds=wire.HoldPolicy.FULL if random.random() < 0.05 else wire.HoldPolicy.PROGRESSIVE,
            user_limits=setting.limits(random) if path.startswith("agent/") and random.random() < 0.3 else None,
        )
        while True:
            try:
                await self.client.put_account(put)
            except LedgerUnavailable:
                continue  # an operator reconciles until it is so
            setting.zones[path] = zone
            return


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
        before = [(act, act.surely()) for act in self._shared.books.at(session)]
        usage = await self.client.usage(wire.GetUsage(session))
        # What was so before and after: meanwhile some were settled, and others extended.
        surely = total(split(then, act.surely())[0] for act, then in before)
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
        try:
            again = await self.client.reserve(op)
        except LedgerUnavailable:
            act.used = {}  # nothing was done yet, and the client gives back what nobody waits for
            raise
        if isinstance(again, wire.Granted) and again.amount != first.amount:
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
        answer = await self.client.settle(wire.Settle(act.id, used))
        act.reported = act.reported or isinstance(answer, wire.Settled)
        if what > 0.85:
            again = await self.client.settle(wire.Settle(act.id, used))
            if isinstance(again, wire.Settled):
                self._shared.day.fail(f"{act.id} was settled twice")


async def _no_events(silence_ms: int | None, heard: Callable[[], None]) -> AsyncGenerator[wire.AnyEvent]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody is told anything")
    yield

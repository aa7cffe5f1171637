"""What the operator asks for: it makes the tree, then edits it in every way."""

import asyncio

from ambit.ledger import wire
from ambit.ledger.client import Held, InvalidOperation, LedgerError, LedgerUnavailable
from tests.ledger_simulation.holders import Holder
from tests.ledger_simulation.setting import HOUR_MS, ZONES, pick


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
            # Where amounts are huge, a correction alone brings a total near to what holds may come to.
            amount = (int(random.random() * 13) - 8) * setting.scale * (128 if setting.scale > 1 else 1)
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
        if setting.moves and path in setting.agents and self._shared.live:
            await self._act_in_the_name_of(path)
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

    async def _act_in_the_name_of(self, agent: str) -> None:
        """Somebody else's session has a sub-session in an Agent's name, which holds something for a while."""
        shared, random = self._shared, self._random
        shared.opened += 1
        path, parent = f"session/n/s{shared.opened}", pick(random, shared.live[-12:])
        want = shared.setting.amount(random)
        opened = await self.client.open(wire.Open(path, parent, HOUR_MS, agent=agent))
        if not isinstance(opened, wire.Opened):
            return
        shared.sessions.append(path)
        shared.live.append(path)
        held = await self.client.hold(path, want, want, HOUR_MS)
        if isinstance(held, Held):
            shared.books.begin(held.id, path, held.granted.amount.vector())

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

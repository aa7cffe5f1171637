"""What a client knows of a ledger of several writers: who writes what, and where accounts and holds are."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

from ambit.ledger import wire
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.partitions.rendezvous import partition_of
from ambit.ledger.partitions.table import Keys, Routes, Table
from ambit.ledger.routing.keys import Key, KeyKind, key_of
from ambit.ledger.transport import AttemptFailed

PATIENCE_S = 0.5
"""How long one ledger has to answer before another one is asked, too."""
REMEMBERED = 100_000
"""How many accounts, and how many holds, a client remembers the partition of. Of others the ledger is asked."""
T = TypeVar("T")


class Directory:
    """What is known so far. A wrong entry costs a round trip, and admits nothing."""

    def __init__(self, http: HttpLedger, table: Table) -> None:
        self._http = http
        self.table = table
        self.partitions = len(table.writers)
        self._paths: dict[str, int] = {}
        self._holds: dict[str, int] = {}

    # -- who writes --------------------------------------------------------
    def learn(self, table: Table) -> None:
        """Takes up a newer table. Raises AttemptFailed where it is of another number of partitions."""
        if len(table.writers) != self.partitions:
            raise AttemptFailed(
                f"the ledger had {self.partitions} partitions and has {len(table.writers)}: this process has to restart"
            )
        self.table = table

    async def refresh(self) -> None:
        """Asks for the table: the ledger's own address first, then every ledger that is known. Raises AttemptFailed."""
        self.learn(await self._anybody(self._http.table))

    async def _anybody(self, ask: Callable[[str | None], Coroutine[None, None, T]]) -> T:
        """The first answer. Another ledger is asked besides when one fails, or is slow: it may be stopped."""
        urls = iter((None, *self.table.members))
        asking: set[asyncio.Task[T]] = set()
        failure = AttemptFailed("no ledger answers")
        url: str | None = next(urls)
        more = True
        try:
            while more or asking:
                if more:
                    asking.add(asyncio.create_task(ask(url)))
                    url = next(urls, "")
                    more = url != ""
                done, asking = await asyncio.wait(
                    asking, timeout=PATIENCE_S if more else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    try:
                        return await task
                    except AttemptFailed as error:
                        failure = error
        finally:
            for task in asking:
                task.cancel()
        raise failure

    # -- where things are --------------------------------------------------
    def find(self, op: wire.AnyOperation) -> int | None:
        """The partition of an operation, if it is known here. What it makes is taken to be made there."""
        key = key_of(op)
        place = self._known(key)
        if place is not None:
            self._made(op, place)
        return place

    async def look_up(self, ops: Sequence[wire.AnyOperation]) -> list[int | None]:
        """The partitions of operations, as the ledger says; None: of none. Raises AttemptFailed."""
        keys = [key_of(op) for op in ops]
        asked = [key for key in dict.fromkeys(keys) if self._known(key) is None]
        paths = tuple(key.text for key in asked if key.kind is KeyKind.PATH)
        holds = tuple(key.text for key in asked if key.kind is KeyKind.HOLD)
        if asked:
            found = await self._anybody(lambda url: self._http.routes(Keys(paths, holds), url))
            self._found(Keys(paths, holds), found)
        return [self.find(op) for op in ops]

    def _found(self, keys: Keys, routes: Routes) -> None:
        if (len(routes.paths), len(routes.holds)) != (len(keys.paths), len(keys.holds)):
            raise AttemptFailed("the ledger did not say of everything where it is")
        for path, place in zip(keys.paths, routes.paths, strict=True):
            if place is not None:
                _remember(self._paths, path, place)
        for hold, place in zip(keys.holds, routes.holds, strict=True):
            if place is not None:
                _remember(self._holds, hold, place)

    def _known(self, key: Key) -> int | None:
        match key.kind:
            case KeyKind.ROOT:
                return partition_of(key.text, self.partitions)
            case KeyKind.PATH:
                return self._paths.get(key.text)
            case _:
                return self._holds.get(key.text)

    def _made(self, op: wire.AnyOperation, place: int) -> None:
        if isinstance(op, wire.PutAccount | wire.Open):
            _remember(self._paths, op.path, place)
        elif isinstance(op, wire.Reserve):
            _remember(self._holds, op.id, place)

    def answered(self, op: wire.AnyOperation, result: wire.AnyResult) -> None:
        """Forgets what an answer shows to be over, or to be somewhere else."""
        if isinstance(op, wire.Reserve):
            if not isinstance(result, wire.Granted):
                self._holds.pop(op.id, None)
        elif isinstance(op, wire.Settle | wire.Release):
            self._holds.pop(op.id, None)
        if isinstance(result, wire.OtherTree | wire.UnknownAccount):
            for path in (result.path, getattr(op, "path", ""), getattr(op, "parent", None) or ""):
                self._paths.pop(path, None)
        elif isinstance(result, wire.UnknownHold):
            self._holds.pop(result.id, None)


def _remember(places: dict[str, int], key: str, place: int) -> None:
    places[key] = place
    if len(places) > REMEMBERED:
        del places[next(iter(places))]  # the oldest

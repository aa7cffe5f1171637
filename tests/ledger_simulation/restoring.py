"""A backup at some time, the disk's loss at a later one, and a ledger restored from it, while holders live on.

Backup and restore are production's. What is said to have been spent since is what holders know by then beyond what the
backup covers: nothing of it may be un-spent, whatever they come back with.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from random import Random
from typing import NamedTuple

from ambit.ledger import backup, changes, wire
from ambit.ledger.amounts import Amount, Vector, plus, split
from ambit.ledger.client import InvalidOperation, LedgerUnavailable
from ambit.ledger.journal import Batch, Snapshot
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.replay import from_snapshot
from tests.ledger_simulation.books import Act
from tests.ledger_simulation.disk import Disk
from tests.ledger_simulation.holders import Holder
from tests.ledger_simulation.incarnation import Facts
from tests.ledger_simulation.model import Fact, Model

DISK_DIES = 0.2
"""In how many runs."""
OUTAGE_S = 12.0
"""Between the loss and the restored ledger: longer than any message is under way."""


def loss_of(random: Random, operations: int) -> tuple[int, int] | None:
    """After how many operations of a run there is a backup, and the disk dies, if it does."""
    if random.random() > DISK_DIES:
        return None
    backed_up_at = int(random.random() * 0.7 * operations)
    return backed_up_at, backed_up_at + 1 + int(random.random() * (0.9 * operations - backed_up_at))


class Backup(NamedTuple):
    """What a disk had at some moment, and what the oracle knew of it."""

    stream: bytes
    history: tuple[Facts, ...]


class _Restored:
    """A disk as the `Journal` that a restore writes."""

    def __init__(self, disk: Disk[Facts]) -> None:
        self._disk = disk

    def epoch(self) -> int:
        return self._disk.epoch

    def snapshot(self) -> Snapshot | None:
        return self._disk.snapshot()

    def batches(self, after: int) -> Iterator[Batch]:
        return self._disk.batches(after)

    def append(self, batch: Batch, records: Sequence[Record]) -> None:
        self._disk.kept_records.extend(records)

    def settling_only(self) -> bool:
        return False

    def prune(self, kind: RecordKind, before_ms: int) -> bool:
        return False

    def adopt_snapshot(self, upto: int) -> None:
        """`Disk.write_snapshot` has put it in its place."""

    def close(self) -> None:
        """Nothing is open."""


class _Source:
    """A disk as a `Source`."""

    address = "simulated"

    def __init__(self, disk: Disk[Facts]) -> None:
        self._disk = disk

    def open(self) -> _Restored:
        return _Restored(self._disk)

    def read(self) -> Disk[Facts]:
        return self._disk


def backed_up(disk: Disk[Facts]) -> Backup:
    """A backup of what is on a disk now."""
    stream = BytesIO()
    backup.write(_Source(disk), stream)
    return Backup(stream.getvalue(), tuple(disk.history))


def restored(kept: Backup) -> Disk[Facts]:
    """A new disk with what the backup has."""
    disk: Disk[Facts] = Disk()
    backup.restore(_Source(disk), BytesIO(kept.stream))
    now_ms = from_snapshot(disk).tree.state.now_ms
    begun = Fact(now_ms, made=(changes.RestoreBegun(now_ms),))
    disk.history = [*kept.history, Facts((begun,), 0)]
    return disk


class Restorer(Holder):
    """Somebody who says what was spent since the backup. `before`: the oracle's ledger as it was lost."""

    async def resume(self, before: Model, after: Model) -> None:
        """Until the restored ledger, which is as `after` says, has taken it."""
        told: dict[str, Vector] = {}
        for act in self._shared.books.acts:
            owner = _tell(act, before, after)
            if owner is not None:
                told[owner] = plus(told.get(owner, {}), act.told)
        spent = tuple(wire.SpentSince(path, Amount.of(amount)) for path, amount in told.items())
        op = wire.Resume("the disk died", "ada", spent, forget=not spent)
        async with self.client:
            while True:
                try:
                    await self.client.resume(op)
                except LedgerUnavailable:
                    continue  # whether it was done is not known
                except InvalidOperation as error:
                    if "has resumed" not in str(error):
                        raise
                return


def _tell(act: Act, before: Model, after: Model) -> str | None:
    """Notes what of an act the backup does not cover, and where that is told: at the nearest account that lives on."""
    hold = after.holds.get(act.id)
    act.lost = hold is None
    if hold is not None and not hold.open and not hold.expired:
        return None  # it was settled by then
    most = act.used if act.reported and act.used is not None else act.granted
    _, beyond = split(most, {} if hold is None else hold.total)
    if not any(beyond.values()):
        return None
    chain = before.holds[act.id].chain
    owner = next(each.path for each in chain if each.opened is None and each.path in after.accounts)
    act.told, act.told_at = dict(beyond), tuple(each.path for each in after.accounts[owner].chain())
    return owner

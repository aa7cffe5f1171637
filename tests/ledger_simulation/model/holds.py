"""The model's holds, and whether the ledger may have forgotten one."""

import msgspec

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Vector
from tests.ledger_simulation.model.accounts import ModelAccount

NAME_MEMORY_MS = 600_000
HOLDER_MEMORY_MS = 24 * 3600 * 1000


class Part(msgspec.Struct):
    """A part of a hold, granted at once."""

    granted_ms: int
    amount: Vector
    charged: Vector


class ModelHold(msgspec.Struct, eq=False):
    """A hold and what became of it."""

    id: str
    component: str
    chain: tuple[ModelAccount, ...]
    parts: list[Part]
    expires_ms: int
    asked: wire.Reserve
    granted: Amount
    speculative: bool
    open: bool = True
    expired: bool = False
    """Charged in full, and its true settle was not taken yet."""
    closed_ms: int = 0
    sequence: int = 0

    @property
    def total(self) -> Vector:
        """All that it holds, or held."""
        total: Vector = {}
        for part in self.parts:
            for index, value in part.amount.items():
                total[index] = total.get(index, 0) + value
        return total


def is_numbered(hold_id: str) -> bool:
    """Whether it is its holder's own, and no name."""
    return "#" in hold_id


class ModelHolder(msgspec.Struct):
    """Who numbers its holds."""

    watermark: int = 0
    sure_watermark: int = 0
    """The same, since the ledger could last have forgotten it."""
    heard_ms: int = 0
    known_since_ms: int = -1
    """When the ledger could last have got to know it anew."""

    def late(self, now_ms: int) -> bool:
        """Whether its last word was so long ago that the ledger may forget it."""
        return now_ms >= self.heard_ms + HOLDER_MEMORY_MS


class Holders:
    """All of them, by name."""

    def __init__(self) -> None:
        self._known: dict[str, ModelHolder] = {}

    def is_used_up(self, hold_id: str, now_ms: int) -> tuple[bool, bool]:
        """Whether an id that never held anything is below its holder's watermark; whether that may be forgotten."""
        name, mark, number = hold_id.rpartition("#")
        holder = self._known.get(name)
        if not mark or holder is None:
            return False, True
        return int(number) <= holder.watermark, int(number) > holder.sure_watermark or holder.late(now_ms)

    def heard(self, hold_id: str, now_ms: int, new: bool = False) -> None:
        """Its holder says something of a hold."""
        name, mark, number = hold_id.rpartition("#")
        if not mark:
            return
        holder = self._known.get(name)
        if holder is None:
            holder = self._known[name] = ModelHolder()
        elif holder.late(now_ms):
            # The ledger may have forgotten it meanwhile, and be getting to know it again.
            holder.sure_watermark, holder.known_since_ms = 0, now_ms
        if new:
            holder.watermark = max(holder.watermark, int(number))
            holder.sure_watermark = max(holder.sure_watermark, int(number))
        holder.heard_ms = now_ms

    def tried(self, hold_id: str) -> None:
        """It was denied, and the ledger had no room to keep that: it may know it or not."""
        name, mark, number = hold_id.rpartition("#")
        if mark:
            holder = self._known.setdefault(name, ModelHolder())
            holder.watermark = max(holder.watermark, int(number))

    def may_be_forgotten(self, hold: ModelHold, now_ms: int) -> bool:
        """Names are, a while after their end; numbers with their holder, a day after its last word."""
        if hold.open:
            return False
        name, mark, _ = hold.id.rpartition("#")
        if not mark:
            return now_ms >= hold.closed_ms + NAME_MEMORY_MS
        holder = self._known[name]
        return holder.late(now_ms) or hold.closed_ms <= holder.known_since_ms

"""What a run is about: its tree, and which resources and windows are limited in it.

Amounts are small and limits tight, so that everything is in everybody's way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from ambit.ledger.amounts import INDEX, RESOURCES, Amount, Limit, Resource, Window

T = TypeVar("T")
ZONES = ("Etc/UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Asia/Kolkata")
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000
BEGIN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z; a run begins within the 400 days after."""
LIFES_MS = (500, 5 * SECOND_MS, MINUTE_MS, HOUR_MS, HOUR_MS, DAY_MS)
LEAPS_S = (1.0, 30.0, 61.0, 700.0, 3600.0, 7 * 3600.0, 86400.0, 8 * 86400.0, 12 * 86400.0)
WINDOWS = tuple(window for window in Window if window is not Window.LIFETIME)


def pick(random: Random, things: Sequence[T]) -> T:
    """One of them; cheaper than `Random.choice`, and this is called for almost everything."""
    return things[int(random.random() * len(things))]


@dataclass(slots=True)
class Setting:
    """What a run is about: its tree, and which resources and windows are limited in it."""

    resources: tuple[Resource, ...]
    windows: tuple[Window, ...]
    budgets: dict[str, str | None] = field(default_factory=dict[str, str | None])
    agents: dict[str, str] = field(default_factory=dict[str, str])
    zones: dict[str, str] = field(default_factory=dict[str, str])
    """As the operator last set them."""
    largest: int = 12
    limit: int = 40
    begins_ms: int = 0

    @classmethod
    def of_seed(cls, random: Random) -> "Setting":
        """One to five budgets, one to three agents, one to three resources, at most two windows beside Lifetime."""
        resources = tuple(random.sample(RESOURCES, 1 + int(random.random() * 3)))
        windows = tuple(random.sample(WINDOWS, int(random.random() * 3)))
        begins_ms = BEGIN_MS + int(random.random() * 400 * DAY_MS)
        setting = cls(resources, windows, limit=pick(random, (10, 40, 40, 200)), begins_ms=begins_ms)
        budgets = ["budget/n/b0"]
        setting.budgets["budget/n/b0"] = None
        for number in range(1, 1 + int(random.random() * 5)):
            path = f"budget/n/b{number}"
            setting.budgets[path] = pick(random, budgets)
            budgets.append(path)
        for number in range(1 + int(random.random() * 3)):
            setting.agents[f"agent/n/a{number}"] = pick(random, budgets)
        return setting

    def amount(self, random: Random) -> Amount:
        """Of one or more of the resources, at least one unit."""
        values = [0] * len(RESOURCES)
        for resource in self.resources:
            values[INDEX[resource]] = int(random.random() * (self.largest + 1))
        if not any(values):
            values[INDEX[self.resources[0]]] = 1
        return Amount(*values)

    def limits(self, random: Random, only_lifetime: bool = False) -> tuple[Limit, ...]:
        """None to three; most of them can be reached."""
        found: dict[tuple[Window, Resource], Limit] = {}
        windows = (Window.LIFETIME,) if only_lifetime else (Window.LIFETIME, *self.windows, *self.windows)
        for _ in range(int(random.random() * 3.3)):
            window, resource = pick(random, windows), pick(random, self.resources)
            scale = 4 if window is Window.LIFETIME and not only_lifetime else 1
            found[window, resource] = Limit(window, resource, int(random.random() * self.limit * scale))
        return tuple(found.values())


def part_of(random: Random, amount: Amount) -> Amount:
    """Some of it."""
    return Amount.of(
        {index: part for index, value in amount.vector().items() if (part := int(random.random() * (value + 1)))}
    )

"""What a run is about: its tree, and which resources and windows are limited in it.

Amounts are small and limits tight, so that everything is in everybody's way.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar
from unittest.mock import patch

from ambit.ledger import ending, state, tree
from ambit.ledger.amounts import INDEX, MAX_AMOUNT, RESOURCES, Amount, Limit, Resource, Window
from ambit.ledger.tree import DUE_BEFORE_AN_OPERATION
from ambit.ledger.wire import TopUp, WhenExhausted

T = TypeVar("T")
ZONES = ("Etc/UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Asia/Kolkata")
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000
BEGIN_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z; a run begins within the 400 days after."""
LIFES_MS = (500, 5 * SECOND_MS, MINUTE_MS, HOUR_MS, HOUR_MS, DAY_MS)
LEAPS_S = (1.0, 30.0, 61.0, 700.0, 3600.0, 7 * 3600.0, 82_800.0, 86400.0, 8 * 86400.0, 12 * 86400.0)
"""Among them 23 hours: a hold that lives for a day and is extended in time goes through many windows."""
WINDOWS = tuple(window for window in Window if window is not Window.LIFETIME)
HUGE = 2**52
"""Times the largest amount of a run, this is a little less than the largest of one hold."""
EXHAUSTIONS = (
    (WhenExhausted.DENY,),
    (WhenExhausted.DENY, WhenExhausted.PARK),
    (WhenExhausted.PARK,),
    (WhenExhausted.DENY, WhenExhausted.DENY, WhenExhausted.TERMINATE),
    tuple(WhenExhausted),
)


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
    scale: int = 1
    """How much larger all amounts are: in some runs they come near to what can be counted at all."""
    begins_ms: int = 0
    when_exhausted: tuple[WhenExhausted, ...] = (WhenExhausted.DENY,)
    """What accounts may do then."""
    at_once: int = DUE_BEFORE_AN_OPERATION
    """How much falls due, and how many sessions end, in one step: in some runs few, as with a million in production."""
    warns: bool = False
    moves: bool = False
    """Whether budgets and agents are put under others."""
    top_ups: dict[str, list[TopUp]] = field(default_factory=dict[str, list[TopUp]])
    """Of each account, in the order of their making."""

    @classmethod
    def of_seed(cls, random: Random) -> "Setting":
        """One to five budgets, one to three agents, one to three resources, at most two windows beside Lifetime."""
        resources = tuple(random.sample(RESOURCES, 1 + int(random.random() * 3)))
        windows = tuple(random.sample(WINDOWS, int(random.random() * 3)))
        begins_ms = BEGIN_MS + int(random.random() * 400 * DAY_MS)
        setting = cls(resources, windows, limit=pick(random, (10, 40, 40, 200)), begins_ms=begins_ms)
        setting.scale = HUGE if random.random() < 0.05 else 1
        setting.at_once = 1 + int(random.random() * 4) if random.random() < 0.25 else DUE_BEFORE_AN_OPERATION
        setting.when_exhausted = pick(random, EXHAUSTIONS)
        setting.warns, setting.moves = random.random() < 0.4, random.random() < 0.4
        budgets = ["budget/n/b0"]
        setting.budgets["budget/n/b0"] = None
        for number in range(1, 1 + int(random.random() * 5)):
            path = f"budget/n/b{number}"
            setting.budgets[path] = pick(random, budgets)
            budgets.append(path)
        for number in range(1 + int(random.random() * 3)):
            setting.agents[f"agent/n/a{number}"] = pick(random, budgets)
        return setting

    @contextmanager
    def small_steps(self) -> Generator[None]:
        """Has the ledger do no more than `at_once` in a step, where that is less than it would."""
        with ExitStack() as patched:
            if self.at_once < DUE_BEFORE_AN_OPERATION:
                patched.enter_context(patch.object(ending, "ENDED_AT_ONCE", self.at_once))
                patched.enter_context(patch.object(tree, "DUE_AT_ONCE", self.at_once))
                patched.enter_context(patch.object(tree, "DUE_BEFORE_AN_OPERATION", self.at_once))
                patched.enter_context(patch.object(state, "HOLDERS_AT_ONCE", self.at_once))
            yield

    def put_under(self, path: str, parent: str) -> None:
        """An account has another parent from now on."""
        if path in self.agents:
            self.agents[path] = parent
        else:
            self.budgets[path] = parent

    def amount(self, random: Random) -> Amount:
        """Of one or more of the resources, at least one unit."""
        values = [0] * len(RESOURCES)
        for resource in self.resources:
            values[INDEX[resource]] = int(random.random() * (self.largest + 1)) * self.scale
        if not any(values):
            values[INDEX[self.resources[0]]] = self.scale
        return Amount(*values)

    def limits(self, random: Random, only_lifetime: bool = False) -> tuple[Limit, ...]:
        """None to three; most of them can be reached."""
        found: dict[tuple[Window, Resource], Limit] = {}
        windows = (Window.LIFETIME,) if only_lifetime else (Window.LIFETIME, *self.windows, *self.windows)
        for _ in range(int(random.random() * 3.3)):
            window, resource = pick(random, windows), pick(random, self.resources)
            scale = 4 if window is Window.LIFETIME and not only_lifetime else 1
            amount = min(int(random.random() * self.limit * scale) * self.scale, MAX_AMOUNT)
            found[window, resource] = Limit(window, resource, amount)
        return tuple(found.values())

    def topped_up(self, random: Random, path: str) -> tuple[TopUp, ...]:
        """The last two of an account: at times there is another one by then."""
        known = self.top_ups.setdefault(path, [])
        if random.random() < 0.2:
            window, resource = pick(random, (Window.LIFETIME, *self.windows)), pick(random, self.resources)
            amount = min(int(random.random() * self.limit) * self.scale, MAX_AMOUNT // 2)
            known.append(TopUp(f"{path}-{len(known)}", window, resource, amount))
        return tuple(known[-2:])


def part_of(random: Random, amount: Amount) -> Amount:
    """Some of it."""
    return Amount.of(
        {index: part for index, value in amount.vector().items() if (part := int(random.random() * (value + 1)))}
    )

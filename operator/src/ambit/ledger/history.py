"""What was spent, kept beside the tree: by an account in each window that ended, by each session that is over.

Records add up: what is settled only after its window's end comes as a further record of the same window, and a
correction of a session that is over as a further record of the session.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from ambit.ledger.amounts import NOTHING, RESOURCES, Amount, Resource, Vector, Window, plus
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.running import Ended
from ambit.ledger.wire import WindowSpent
from ambit.telemetry.reasons import SessionEnd


class _WindowBody(msgspec.Struct, frozen=True, array_like=True):
    """What was spent in one window, in part or in full, by place in `RESOURCES`. May be below zero: a correction."""

    window: Window
    start_ms: int
    end_ms: int
    spent: Vector


class SessionUsage(msgspec.Struct, frozen=True, array_like=True):
    """What a session used, in part or in full, and all that its usage is counted by."""

    path: str
    above: tuple[str, ...]
    """The accounts above it, nearest first."""
    agent: str | None
    """The Agent whose session it was: of a sub-session not one of those above."""
    user: str
    labels: dict[str, str]
    opened_ms: int
    ended_ms: int
    """Of one that is open, when it was looked at."""
    reason: SessionEnd | None
    """None: it is open."""
    spent: Vector
    message: str = ""
    """What was said at its end."""

    @classmethod
    def correction(cls, path: str, spent: Vector) -> "SessionUsage":
        """A signed amount that adds to the usage of a session whose record is there already."""
        return cls(path, (), None, "", {}, 0, 0, None, spent)

    @property
    def is_correction(self) -> bool:
        """Whether it says nothing but an amount: a session stands under something."""
        return not self.above


def window_record(path: str, ended: Ended, at_ms: int) -> Record:
    """The record of what an account spent in a window that is over, in part or in full; or of a correction."""
    return Record(RecordKind.WINDOW, at_ms, path, msgspec.msgpack.encode(_WindowBody(*ended)))


def windows_of(records: Iterable[Record], window: Window | None = None) -> tuple[WindowSpent, ...]:
    """What an account spent in its windows, oldest first; in those of one kind, where `window` says which."""
    totals: dict[tuple[int, int, Window], Vector] = {}
    for record in records:
        body = msgspec.msgpack.decode(record.body, type=_WindowBody)
        if window is None or body.window is window:
            place = (body.start_ms, body.end_ms, body.window)
            totals[place] = plus(totals.get(place, NOTHING), body.spent)
    ordered = sorted(totals.items(), key=lambda each: each[0])
    return tuple(
        # A charge may have been taken off twice: by somebody's adjustment, and once its true amount was known.
        WindowSpent(window, start, end, Amount.of({index: max(amount, 0) for index, amount in spent.items()}))
        for (start, end, window), spent in ordered
    )


def session_record(usage: SessionUsage, at_ms: int) -> Record:
    """The record of what a session used."""
    return Record(RecordKind.SESSION, at_ms, usage.path, msgspec.msgpack.encode(usage))


def sessions_of(records: Iterable[Record]) -> list[SessionUsage]:
    """What each session used, in the order of their ends, by the records of sessions among `records`."""
    found: dict[str, SessionUsage] = {}
    for record in records:
        if record.kind is not RecordKind.SESSION:
            continue
        usage = msgspec.msgpack.decode(record.body, type=SessionUsage)
        before = found.get(usage.path)
        if before is not None:
            found[usage.path] = msgspec.structs.replace(
                before if usage.is_correction else usage, spent=plus(before.spent, usage.spent)
            )
        elif not usage.is_correction:  # else the session's own record is no longer kept
            found[usage.path] = usage
    return sorted(found.values(), key=lambda each: (each.ended_ms, each.path))


class By(StrEnum):
    """What usage can be added up by."""

    TEAM = "team"
    """The namespace and the nearest Budget above, as columns `namespace` and `budget`."""
    AGENT = "agent"
    USER = "user"
    LABEL = "label"
    """A label's value: written `label:<name>`."""


class UnknownGrouping(ValueError):
    """Nothing can be added up by this."""

    def __init__(self, text: str) -> None:
        super().__init__(f"usage cannot be added up by {text!r}: write team, agent, user or label:<name>")


def to_csv(sessions: Iterable[SessionUsage], by: Iterable[str]) -> Iterator[str]:
    """Usage added up by `by`, as lines of CSV, the header first: money in dollars, time in seconds.

    Raises UnknownGrouping.
    """
    groups = list(by)
    columns = [column for group in groups for column in _columns(group)]
    totals: dict[tuple[str, ...], tuple[int, Vector]] = {}
    for usage in sessions:
        place = tuple(value for group in groups for value in _values(group, usage))
        count, spent = totals.get(place, (0, NOTHING))
        totals[place] = (count + 1, plus(spent, usage.spent))
    yield _line([*columns, "sessions", *(f"{resource.value}{_UNITS.get(resource, '')}" for resource in RESOURCES)])
    for place, (count, spent) in sorted(totals.items()):
        amounts = [_text(resource, spent.get(index, 0)) for index, resource in enumerate(RESOURCES)]
        yield _line([*place, str(count), *amounts])


_UNITS = {Resource.RUNTIME: "_seconds", Resource.GPU_TIME: "_seconds", Resource.PAYMENTS: "_usd"}
PLACES = {Resource.USD: 9, Resource.PAYMENTS: 9, Resource.RUNTIME: 3, Resource.GPU_TIME: 3}
"""How many decimal places people's units have: dollars, seconds. Of the others, none."""


def _columns(group: str) -> tuple[str, ...]:
    if group == By.TEAM:
        return ("namespace", "budget")
    kind, separator, name = group.partition(":")
    if group in (By.AGENT, By.USER) or (kind == By.LABEL and separator and name):
        return (group,)
    raise UnknownGrouping(group)


def _values(group: str, usage: SessionUsage) -> tuple[str, ...]:
    if group == By.TEAM:
        budget = next((path for path in usage.above if path.startswith("budget/")), "")
        return (usage.path.split("/", 2)[1], budget.partition("/")[2])
    if group == By.AGENT:
        return ("" if usage.agent is None else usage.agent.partition("/")[2],)
    if group == By.USER:
        return (usage.user,)
    return (usage.labels.get(group.partition(":")[2], ""),)


def _text(resource: Resource, amount: int) -> str:
    places = PLACES.get(resource, 0)
    if not places:
        return str(amount)
    whole, part = divmod(abs(amount), 10**places)
    decimal = f"{whole}.{part:0{places}}".rstrip("0").rstrip(".")
    return f"-{decimal}" if amount < 0 and decimal != "0" else decimal


def _line(cells: list[str]) -> str:
    # Names and labels are people's own: one that begins like a formula is not to be one in a spreadsheet.
    safe = [f"'{cell}" if cell[:1] in ("=", "+", "@", "\t") else cell for cell in cells]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(safe)
    return out.getvalue()

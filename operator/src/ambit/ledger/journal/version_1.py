"""What a journal of version 1 says, in today's words: used once, when its file is migrated.

Version 1 counted four resources in three windows. What it did not count by the Hour, the Week and the Month is taken to
be the most that it can have been: a limit that is added to a running window must not begin too low.
"""

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

import msgspec

from ambit.ledger import changes, images
from ambit.ledger.allowance import RUNNING_WINDOWS, Allowance
from ambit.ledger.amounts import INDEX, NOTHING, Limit, Resource, Vector, Window, plus
from ambit.ledger.holds import HoldState, Part
from ambit.ledger.sessions import Ending
from ambit.ledger.windows import Span, window_at
from ambit.telemetry.reasons import SessionEnd

_PLACES: Final = [INDEX[each] for each in (Resource.USD, Resource.TOKENS, Resource.MODEL_CALLS, Resource.RUNTIME)]
_AT_MOST_THAT_OF: Final = {Window.HOUR: Window.DAY, Window.WEEK: Window.LIFETIME, Window.MONTH: Window.LIFETIME}
"""By window that was not counted, one that was and has seen as much or more."""
_IMAGES_IN_A_CHUNK: Final = 1000
_Four = tuple[int, int, int, int]


class _Change(msgspec.Struct, array_like=True, tag=True):
    at_ms: int


class _AccountChanged(_Change, tag="account"):
    path: str
    parent: str | None
    limits: tuple[Limit, ...]
    zone: str


class _AccountGone(_Change, tag="gone"):
    path: str


class _SessionBegun(_Change, tag="begun"):
    path: str
    parent: str
    limits: tuple[Limit, ...]
    attributes: dict[str, str]
    grace_ms: int


class _SessionOver(_Change, tag="over"):
    path: str
    reason: SessionEnd
    message: str
    cut: bool


class _HoldPlaced(_Change, tag="placed"):
    component: str
    id: str
    path: str
    amount: _Four
    want: _Four
    at_least: _Four
    expires_in_ms: int


class _HoldExtended(_Change, tag="extended"):
    component: str
    id: str
    sequence: int
    amount: _Four
    want: _Four
    at_least: _Four
    expires_in_ms: int


class _HoldSettled(_Change, tag="settled"):
    component: str
    id: str
    used: _Four


class _HoldReleased(_Change, tag="released"):
    component: str
    id: str
    reason: str


class _HoldExpired(_Change, tag="expired"):
    component: str
    id: str


_AnyChange = (
    _AccountChanged
    | _AccountGone
    | _SessionBegun
    | _SessionOver
    | _HoldPlaced
    | _HoldExtended
    | _HoldSettled
    | _HoldReleased
    | _HoldExpired
)


class _Counter(msgspec.Struct):
    window: Window
    span: Span
    zone: str
    spent: _Four
    held: _Four


class _Session(msgspec.Struct):
    attributes: dict[str, str]
    grace_ms: int
    opened_ms: int
    idle_since_ms: int
    ending: Ending | None


class _Account(msgspec.Struct):
    path: str
    parent: str | None
    limits: tuple[Limit, ...]
    zone: str
    counters: list[_Counter]
    removed: bool
    overrun: _Four
    session: _Session | None


class _Increment(msgspec.Struct):
    granted_ms: int
    amount: _Four
    charged: _Four


class _Request(msgspec.Struct):
    want: _Four
    at_least: _Four
    expires_in_ms: int
    granted: _Four


class _Hold(msgspec.Struct):
    component: str
    id: str
    chain: tuple[str, ...]
    increments: list[_Increment]
    expires_ms: int
    first: _Request
    sequence: int
    last: _Request | None
    state: HoldState


class _Snapshot(msgspec.Struct):
    now_ms: int
    accounts: list[_Account]
    holds: list[_Hold]
    closed_holds: list[tuple[int, tuple[str, str]]]
    ended_sessions: list[tuple[int, str]]


_changes = msgspec.msgpack.Decoder(list[_AnyChange])


def batch(data: bytes) -> bytes:
    """A batch of changes."""
    return changes.Codec.encode([_change(each) for each in _changes.decode(data)])


def snapshot_chunks(image: bytes) -> Iterator[bytes]:
    """The tree."""
    old = msgspec.msgpack.decode(image, type=_Snapshot)
    holding = {hold.chain[0] for hold in old.holds if hold.state is HoldState.OPEN}
    parts: list[images.AnyImage] = [images.TreeImage(old.now_ms, False, False, old.closed_holds)]
    parts.extend(_account(account, old.holds, old.now_ms, account.path in holding) for account in old.accounts)
    parts.extend(_hold(hold) for hold in old.holds)
    for first in range(0, len(parts), _IMAGES_IN_A_CHUNK):
        yield msgspec.msgpack.encode(parts[first : first + _IMAGES_IN_A_CHUNK])


def _vector(four: Iterable[int]) -> Vector:
    return {place: amount for place, amount in zip(_PLACES, four, strict=True) if amount}


def _change(old: _AnyChange) -> changes.AnyChange:
    at_ms = old.at_ms
    match old:
        case _AccountChanged():
            return changes.AccountChanged(at_ms, old.path, old.parent, Allowance(old.limits), old.zone)
        case _AccountGone():
            return changes.AccountGone(at_ms, old.path)
        case _SessionBegun():
            return changes.SessionBegun(at_ms, old.path, old.parent, old.limits, old.attributes, old.grace_ms)
        case _SessionOver():
            return changes.SessionOver(at_ms, old.path, old.reason, old.message, old.cut)
        case _HoldPlaced():
            asked = (_vector(old.amount), old.expires_in_ms, _vector(old.want), _vector(old.at_least))
            return changes.HoldPlaced(at_ms, old.component, old.id, old.path, *asked)
        case _HoldExtended():
            asked = (_vector(old.amount), old.expires_in_ms, _vector(old.want), _vector(old.at_least))
            return changes.HoldExtended(at_ms, old.component, old.id, old.sequence, *asked)
        case _HoldSettled():
            return changes.HoldSettled(at_ms, old.component, old.id, _vector(old.used))
        case _HoldReleased():
            return changes.HoldReleased(at_ms, old.component, old.id, old.reason)
        case _HoldExpired():
            return changes.HoldExpired(at_ms, old.component, old.id)
        case _:
            assert_never(old)


def _account(old: _Account, holds: list[_Hold], now_ms: int, holding: bool) -> images.AccountImage:
    counted = {counter.window: counter for counter in old.counters}
    lifetime = counted[Window.LIFETIME]
    windows: list[images.WindowImage] = []
    if old.session is None:
        for window in RUNNING_WINDOWS:
            counter = counted.get(window) or _at_most(window, counted, old, holds, now_ms)
            windows.append(_window(counter, lifetime))
    return images.AccountImage(
        path=old.path,
        parent=old.parent,
        allowance=Allowance(old.limits),
        zone=old.zone,
        spent=_vector(lifetime.spent),
        held=_vector(lifetime.held),
        windows=tuple(windows),
        overrun=_vector(old.overrun),
        removed=old.removed,
        session=None if old.session is None else _session(old.session, holding),
        kill=None,
    )


def _window(seen: _Counter, lifetime: _Counter) -> images.WindowImage:
    """A window is what the account's totals were when it began: all but what the window has seen."""
    if seen.span.end_ms is None:
        raise ValueError(f"a {seen.window} has no end")
    spent = (total - part for total, part in zip(lifetime.spent, seen.spent, strict=True))
    held = (total - part for total, part in zip(lifetime.held, seen.held, strict=True))
    return images.WindowImage(seen.span.start_ms, seen.span.end_ms, seen.zone, _vector(spent), _vector(held))


def _at_most(
    window: Window, counted: dict[Window, _Counter], account: _Account, holds: list[_Hold], now_ms: int
) -> _Counter:
    """What a window that was not counted has seen at most; what is held in it is known."""
    span = window_at(window, account.zone, now_ms)
    held: Vector = NOTHING
    for hold in holds:
        if hold.state is HoldState.OPEN and account.path in hold.chain:
            for part in hold.increments:
                if part.granted_ms >= span.start_ms:
                    held = plus(held, _vector(part.amount))
    usd, tokens, calls, runtime = (held.get(place, 0) for place in _PLACES)
    spent = counted[_AT_MOST_THAT_OF[window]].spent
    return _Counter(window, span, account.zone, spent, (usd, tokens, calls, runtime))


def _session(old: _Session, holding: bool) -> images.SessionImage:
    return images.SessionImage(
        attributes=old.attributes,
        grace_ms=old.grace_ms,
        opened_ms=old.opened_ms,
        idle_since_ms=old.idle_since_ms,
        user="",
        labels={},
        agent=None,
        ending=old.ending,
        gone=old.ending is not None and not holding,
    )


def _hold(old: _Hold) -> images.HoldImage:
    first, last = old.first, old.last
    granted_ms = old.increments[0].granted_ms
    asked = (_vector(first.granted), first.expires_in_ms, _vector(first.want), _vector(first.at_least))
    extended = None
    if last is not None:
        more = (_vector(last.granted), last.expires_in_ms, _vector(last.want), _vector(last.at_least))
        extended = changes.HoldExtended(granted_ms, old.component, old.id, old.sequence, *more)
    return images.HoldImage(
        chain=old.chain,
        first=changes.HoldPlaced(granted_ms, old.component, old.id, old.chain[0], *asked),
        parts=tuple(Part(part.granted_ms, _vector(part.amount)) for part in old.increments),
        expires_ms=old.expires_ms,
        last=extended,
        state=old.state,
        number=0,
        speculative=False,
        recalled=False,
    )

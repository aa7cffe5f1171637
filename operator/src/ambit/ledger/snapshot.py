"""The whole tree as one value, so that the journal before it can be dropped. Taking it up again gives the same tree."""

import heapq

import msgspec

from ambit.ledger.accounts import (
    Account,
    Counter,
    Ending,
    Hold,
    HoldKey,
    HoldState,
    Increment,
    Request,
    Session,
)
from ambit.ledger.amounts import Limit, Vector, Window
from ambit.ledger.state import State


class SessionImage(msgspec.Struct, frozen=True):
    """A `Session`, its holds apart."""

    attributes: dict[str, str]
    grace_ms: int
    opened_ms: int
    idle_since_ms: int
    ending: Ending | None


class AccountImage(msgspec.Struct, frozen=True):
    """An `Account`, its parent by path."""

    path: str
    parent: str | None
    limits: tuple[Limit, ...]
    zone: str
    counters: list[Counter]
    removed: bool
    overrun: Vector
    session: SessionImage | None


class HoldImage(msgspec.Struct, frozen=True):
    """A `Hold`, its chain by path."""

    component: str
    id: str
    chain: tuple[str, ...]
    increments: list[Increment]
    expires_ms: int
    first: Request
    sequence: int
    last: Request | None
    state: HoldState


class Snapshot(msgspec.Struct, frozen=True):
    """A tree at `now_ms`. Equal trees have equal snapshots of the same moment."""

    now_ms: int
    accounts: list[AccountImage]
    """Sorted by path."""
    holds: list[HoldImage]
    """Sorted by component and id."""
    closed_holds: list[tuple[int, HoldKey]]
    ended_sessions: list[tuple[int, str]]

    def encode(self) -> bytes:
        """As bytes, for the journal."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Snapshot":
        """From bytes. Raises `msgspec.ValidationError` where they are none."""
        return msgspec.msgpack.decode(data, type=cls)


def take(state: State, now_ms: int) -> Snapshot:
    """The snapshot of a tree at `now_ms`, which is no earlier than its last change."""
    for account in state.accounts.values():
        account.turn(now_ms)
    return Snapshot(
        now_ms=now_ms,
        accounts=[_account_image(account) for _, account in sorted(state.accounts.items())],
        holds=[_hold_image(hold) for _, hold in sorted(state.holds.items())],
        closed_holds=list(state.closed_holds),
        ended_sessions=list(state.ended_sessions),
    )


def restore(snapshot: Snapshot) -> State:
    """The tree of a snapshot."""
    state = State()
    state.now_ms = snapshot.now_ms
    for image in snapshot.accounts:
        state.accounts[image.path] = _account(image)
    for image in snapshot.accounts:
        if image.parent is not None:
            child, parent = state.accounts[image.path], state.accounts[image.parent]
            child.parent = parent
            parent.children[child.path] = child
    for image in snapshot.holds:
        _restore_hold(state, image)
    state.closed_holds.extend(snapshot.closed_holds)
    state.ended_sessions.extend(snapshot.ended_sessions)
    for account in state.accounts.values():
        if account.session is not None and account.session.ending is None:
            state.open_sessions += 1
        if account.session is not None and account.session.abandoned_at_ms is not None:
            heapq.heappush(state.idle_sessions, (account.session.abandoned_at_ms, account.path))
    return state


def _account_image(account: Account) -> AccountImage:
    session = account.session
    return AccountImage(
        path=account.path,
        parent=None if account.parent is None else account.parent.path,
        limits=account.limits,
        zone=account.zone,
        counters=[_copy(counter) for counter in account.counters.values()],
        removed=account.removed,
        overrun=account.overrun,
        session=None
        if session is None
        else SessionImage(
            session.attributes, session.grace_ms, session.opened_ms, session.idle_since_ms, session.ending
        ),
    )


def _copy(counter: Counter) -> Counter:
    return Counter(counter.window, counter.span, counter.zone, counter.spent, counter.held)


def _account(image: AccountImage) -> Account:
    session = None
    if image.session is not None:
        kept = image.session
        session = Session(kept.attributes, kept.grace_ms, kept.opened_ms, kept.idle_since_ms, kept.ending)
    counters: dict[Window, Counter] = {counter.window: _copy(counter) for counter in image.counters}
    return Account(image.path, None, image.limits, image.zone, counters, session, image.removed, image.overrun)


def _hold_image(hold: Hold) -> HoldImage:
    return HoldImage(
        component=hold.component,
        id=hold.id,
        chain=tuple(account.path for account in hold.chain),
        increments=[Increment(part.granted_ms, part.amount, part.charged) for part in hold.increments],
        expires_ms=hold.expires_ms,
        first=hold.first,
        sequence=hold.sequence,
        last=hold.last,
        state=hold.state,
    )


def _restore_hold(state: State, image: HoldImage) -> None:
    hold = Hold(
        component=image.component,
        id=image.id,
        chain=tuple(state.accounts[path] for path in image.chain),
        increments=[Increment(part.granted_ms, part.amount, part.charged) for part in image.increments],
        expires_ms=image.expires_ms,
        queued_ms=image.expires_ms,
        first=image.first,
        sequence=image.sequence,
        last=image.last,
        state=image.state,
    )
    state.holds[hold.key] = hold
    if hold.state is HoldState.OPEN:
        state.session(image.chain[0]).holds[hold.key] = hold
        state.queue(hold)

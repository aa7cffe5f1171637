"""The whole tree as values in chunks, so that the journal before it can be dropped. Taking it up gives the same tree.

In chunks, so that neither a million accounts nor their bytes are ever one value.
"""

from collections.abc import Iterable, Iterator

import msgspec

from ambit.ledger.accounts import NO_CHILDREN, Account
from ambit.ledger.allowance import LIFETIME_PLACE
from ambit.ledger.amounts import NOTHING, RESOURCES, Vector
from ambit.ledger.holds import Hold, Holder, HoldState
from ambit.ledger.images import (
    AccountImage,
    AnyImage,
    HolderImage,
    HoldImage,
    KillImage,
    SessionImage,
    TreeImage,
    WindowImage,
)
from ambit.ledger.policy import Policy
from ambit.ledger.running import ZEROS, Ended, Running, Totals, running, shared
from ambit.ledger.sessions import Kill, Session
from ambit.ledger.state import State
from ambit.ledger.state_of_sessions import FOLD_AFTER_MS, NO_ATTRIBUTES, is_idle

CHUNK_ACCOUNTS = 1000
"""How many accounts, holders or holds a chunk has at most."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[AnyImage])


def take(state: State, now_ms: int) -> Iterator[bytes]:
    """The snapshot of a tree at `now_ms`, which is no earlier than its last change. The tree stands still meanwhile."""
    chunk: list[AnyImage] = []
    for image in images(state, now_ms):
        chunk.append(image)
        if len(chunk) == CHUNK_ACCOUNTS:
            yield _encoder.encode(chunk)
            chunk.clear()
    yield _encoder.encode(chunk)


def images(state: State, now_ms: int) -> Iterator[AnyImage]:
    """The same as values. Trees that the same changes made have the same images of the same moment."""
    yield TreeImage(now_ms, state.clock_doubted, state.restore_pending, list(state.closed_names), state.audit_head)
    for account in state.accounts.values():
        state.turn(account, now_ms)
        yield _account_image(account, tuple(sorted(state.ended.of(account.path))))
    for holder in state.holders.values():
        yield HolderImage(holder.name, holder.component, holder.heard_ms, holder.watermark, holder.looked_at_ms)
    for hold in state.holds():
        yield _hold_image(state, hold)


def restore(chunks: Iterable[bytes]) -> State:
    """The tree of a snapshot. Raises `msgspec.ValidationError` where the chunks are none."""
    state = State()
    restoring = _Restoring(state)
    for chunk in chunks:
        for image in _decoder.decode(chunk):
            restoring.take(image)
    restoring.finish()
    return state


class _Restoring:
    """A tree that is being put together. Accounts may come before those above them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._links: list[tuple[Account, AccountImage]] = []

    def take(self, image: AnyImage) -> None:
        state = self._state
        match image:
            case AccountImage():
                account = _account(image)
                state.add(account)
                for each in image.ended:
                    state.ended.note(image.path, Ended(*each))
                self._links.append((account, image))
            case HoldImage():
                self._hold(image)
            case HolderImage():
                holder = Holder(image.name, image.component, image.heard_ms, image.looked_at_ms, image.watermark)
                state.add_holder(holder)
            case TreeImage():
                state.now_ms = image.now_ms
                state.clock_doubted, state.restore_pending = image.clock_doubted, image.restore_pending
                state.closed_names.extend(image.closed_names)
                state.audit_head = image.audit_head

    def _hold(self, image: HoldImage) -> None:
        state = self._state
        chain = tuple(state.accounts[path] for path in image.chain)
        hold = Hold(chain, image.first, image.parts, image.expires_ms, image.last)
        hold.state, hold.speculative, hold.left = image.state, image.speculative, image.left
        if image.number:
            holder = state.holders[image.first.id.rpartition("#")[0]]
            holder.take(hold, image.number)
        else:
            state.named[hold.component, hold.id] = hold
        if hold.state is HoldState.OPEN:
            state.open(hold)
            if image.recalled:
                for account in chain:
                    hold.recall_from(account)

    def finish(self) -> None:
        state = self._state
        for account, image in self._links:
            if image.parent is not None:
                account.attach(state.accounts[image.parent])
        for account, image in self._links:
            if image.session is not None and account.session is not None:
                self._session(account, account.session, image.session)
            if image.kill is not None:
                kill = image.kill
                # Snapshots of before this was mended name sessions that have gone: nothing is to be waited for there.
                waiting = {state.accounts[path] for path in kill.waiting if path in state.accounts}
                account.kill = Kill(kill.at_ms, waiting, kill.presumed, kill.confirmed)
                state.await_kill(account, account.kill)
        for account, _ in self._links:
            if account.session is not None:
                self._time(account, account.session)
            state.look_at_parked(account, state.now_ms)

    def _session(self, account: Account, session: Session, image: SessionImage) -> None:
        if session.ending is None:
            self._state.open_sessions += 1
        if session.doomed is not None:
            self._state.doomed[account] = None
        counted = [*account.chain()]
        if image.agent is not None:
            agent = self._state.accounts[image.agent]
            session.agent = agent
            if agent.adopted is NO_CHILDREN:
                agent.adopted = {}
            agent.adopted[account.path] = account
            counted.append(agent)
        if image.parked_by is not None:
            session.parked_by = self._state.accounts[image.parked_by]
        if session.counts:
            for each in counted:
                each.sessions_open += 1

    def _time(self, account: Account, session: Session) -> None:
        timers = self._state.session_timers
        if session.ending is not None:
            session.timer = timers.add(account, session.idle_since_ms + FOLD_AFTER_MS)
        elif is_idle(account, session):
            session.timer = timers.add(account, session.idle_since_ms + session.grace_ms)


def _account_image(account: Account, ended: tuple[Ended, ...]) -> AccountImage:
    session, kill = account.session, account.kill
    return AccountImage(
        path=account.path,
        parent=None if account.parent is None else account.parent.path,
        allowance=account.allowance,
        zone=account.zone,
        spent=account.spent_in(LIFETIME_PLACE),
        held=account.held_in(LIFETIME_PLACE),
        windows=tuple(
            WindowImage(each.start_ms, each.end_ms, each.zone, _sparse(each.spent), _sparse(each.held))
            for each in account.windows
        ),
        overrun=account.overrun,
        removed=account.removed,
        session=None if session is None else _session_image(session),
        kill=None
        if kill is None
        else KillImage(kill.at_ms, sorted(each.path for each in kill.waiting), kill.presumed, kill.confirmed),
        policy=None if account.policy is None else account.policy.image(),
        zones=account.zones,
        ended=ended,
    )


def _session_image(session: Session) -> SessionImage:
    return SessionImage(
        session.attributes,
        session.grace_ms,
        session.opened_ms,
        session.idle_since_ms,
        session.user,
        session.labels,
        None if session.agent is None else session.agent.path,
        session.ending,
        session.gone,
        None if session.parked_by is None else session.parked_by.path,
        session.away,
        session.doomed,
        session.silent,
    )


def _account(image: AccountImage) -> Account:
    account = Account(image.path, image.allowance, image.zone, tuple(_window(each) for each in image.windows))
    account.post(image.spent, NOTHING)
    if image.held:
        account.hold(image.held)
    account.overrun, account.removed, account.zones = image.overrun, image.removed, image.zones
    if image.policy is not None:
        account.set_policy(Policy.of(image.policy))
    if image.session is not None:
        kept = image.session
        account.session = Session(
            kept.attributes or NO_ATTRIBUTES,
            kept.grace_ms,
            kept.opened_ms,
            kept.idle_since_ms,
            kept.user,
            kept.labels or NO_ATTRIBUTES,
            ending=kept.ending,
            gone=kept.gone,
            away=kept.away,
            doomed=kept.doomed,
            silent=kept.silent,
        )
    return account


def _window(image: WindowImage) -> Running:
    if not image.spent and not image.held:
        return shared(image.start_ms, image.end_ms, image.zone)
    return running(image.start_ms, image.end_ms, image.zone, _dense(image.spent), _dense(image.held))


def _hold_image(state: State, hold: Hold) -> HoldImage:
    return HoldImage(
        chain=tuple(account.path for account in hold.chain if state.accounts.get(account.path) is account),
        first=hold.first,
        parts=hold.parts,
        expires_ms=hold.expires_ms,
        last=hold.last,
        state=hold.state,
        number=hold.number,
        speculative=hold.speculative,
        recalled=hold.speculative and hold not in hold.chain[0].recallable,
        left=state.left_of(hold),
    )


def _sparse(totals: Totals) -> Vector:
    return {index: amount for index, amount in enumerate(totals) if amount}


def _dense(amounts: Vector) -> Totals:
    return tuple(amounts.get(index, 0) for index in range(len(RESOURCES))) if amounts else ZEROS

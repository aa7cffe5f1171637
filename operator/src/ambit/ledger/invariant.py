"""What must be true of the tree, as functions that say what is not. Tests ask them after every step.

The invariant: no step that increases what is held leaves an enforced account with `spent + held` above a limit. An
account stands above one only by a limit that was lowered or added, a recorded overrun or loss, or a change from Shadow;
and until it is below, nothing on it increases. A Minute is a rate: extensions of what is under way may take more of it
than its limit, and nothing else is then held on it until it has room again.

`standings` and `violations` look at all of a tree; `Watch` at what a step touches, so that every step of a long
simulation can be checked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from ambit.ledger.accounts import Account
from ambit.ledger.admission import standing_of
from ambit.ledger.allowance import LIFETIME_PLACE, RUNNING_WINDOWS
from ambit.ledger.amounts import NOTHING, Limit, Resource, Vector, Window, minus, plus, total
from ambit.ledger.holds import Hold, HoldState, Part
from ambit.ledger.state import State
from ambit.ledger.wire import Enforcement

Place = tuple[str, Window, Resource]
"""An account, a window of it, a resource."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at one place."""

    begun_ms: int
    spent: int
    held: int
    limit: int | None


def standings(state: State, now_ms: int) -> dict[Place, Standing]:
    """What stands at every limited place at `now_ms`, and of each window for one resource, to see that it goes on."""
    found: dict[Place, Standing] = {}
    for account in state.accounts.values():
        state.turn(account, now_ms)
        for window in (Window.LIFETIME, *(RUNNING_WINDOWS if account.windows else ())):
            found[account.path, window, Resource.USD] = _standing(account, window, Resource.USD, None, now_ms)
        found.update(_limited(account, now_ms))
    return found


def violations_of_step(
    before: Mapping[Place, Standing], after: Mapping[Place, Standing], *, extends: bool = False
) -> list[str]:
    """What a step from `before` to `after` did that no step may. `extends`: it is the extension of a hold."""
    found: list[str] = []
    for place, now in after.items():
        was = before.get(place)
        if was is None:
            continue  # its limit is new: it may stand above it
        limit = None if extends and place[1] is Window.MINUTE else now.limit
        held_before = was.held if was.begun_ms == now.begun_ms else 0
        if limit is not None and now.held > held_before and now.spent + now.held > limit:
            found.append(f"{place}: held rose to {now.held} with {now.spent} spent and a limit of {limit}")
        if now.begun_ms < was.begun_ms:
            found.append(f"{place}: its window went back from {was.begun_ms} to {now.begun_ms}")
    forgotten = {path for path, _, _ in before} - {path for path, _, _ in after}
    found.extend(f"{path}: forgotten" for path in sorted(forgotten) if not path.startswith("session/"))
    return found


def violations(state: State, now_ms: int) -> list[str]:
    """What is wrong with a tree by itself: every total is the sum of the open holds that it has seen."""
    found: list[str] = []
    held = {account: _Sums() for account in state.accounts.values()}
    for hold in state.holds():
        found.extend(_violations_of_hold(hold, now_ms))
        if hold.state is HoldState.OPEN:
            for account in hold.chain:
                held[account].add(hold)
    gauges = dict.fromkeys(state.accounts.values(), 0)
    for account in state.accounts.values():
        session = account.session
        if session is not None and session.counts:
            for each in (*account.chain(), *(() if session.agent is None else (session.agent,))):
                gauges[each] += 1
    for account, sums in held.items():
        state.turn(account, now_ms)
        found.extend(_violations_of_account(account, sums))
        if account.sessions_open != gauges[account]:
            found.append(f"{account.path}: counts {account.sessions_open} sessions, of which {gauges[account]} act")
    found.extend(_violations_of_indexes(state))
    if state.open_holds != sum(hold.state is HoldState.OPEN for hold in state.holds()):
        found.append(f"{state.open_holds} holds are counted as open")
    return found


def _violations_of_indexes(state: State) -> Iterable[str]:
    sessions = {each for each in state.accounts.values() if each.session is not None}
    if {each for found in state.sessions_in.values() for each in found} != sessions:
        yield "the sessions by namespace are not those of the tree"
    if set(state.doomed) != {each for each in sessions if each.session is not None and each.session.doomed is not None}:
        yield "the sessions that are about to end are not those of the tree"
    if set(state.budgets) != {path for path in state.accounts if path.startswith("budget/")}:
        yield "the Budgets are not those of the tree"


class _Sums:
    """The open holds of an account, summed by when their parts were granted."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.speculative: Vector = NOTHING

    def add(self, hold: Hold) -> None:
        self.parts.extend(hold.parts)
        if hold.speculative:
            self.speculative = plus(self.speculative, hold.amount)

    def since(self, begun_ms: int) -> Vector:
        return total(part.amount for part in self.parts if part.granted_ms >= begun_ms)


def _violations_of_account(account: Account, sums: _Sums) -> Iterable[str]:
    for place in range(LIFETIME_PLACE, len(account.windows)):
        begun_ms = 0 if place == LIFETIME_PLACE else account.windows[place].start_ms
        window = Window.LIFETIME if place == LIFETIME_PLACE else RUNNING_WINDOWS[place]
        expected, held = sums.since(begun_ms), account.held_in(place)
        if held != expected:
            yield f"{account.path} {window}: {held} held, but its holds are {expected}"
        if min(account.spent_in(place).values(), default=0) < 0:
            yield f"{account.path} {window}: {account.spent_in(place)} spent"
    if account.speculative != sums.speculative:
        yield f"{account.path}: {account.speculative} speculative, but its holds are {sums.speculative}"
    if account.parent is not None and account.parent.children.get(account.path) is not account:
        yield f"{account.path}: its parent does not know it"
    if account in account.chain()[1:]:
        yield f"{account.path}: is above itself"


def _violations_of_hold(hold: Hold, now_ms: int) -> Iterable[str]:
    session = hold.chain[0].session
    registered = session is not None and hold in session.holds
    if registered is not (hold.state is HoldState.OPEN):
        yield f"{hold.id}: {hold.state}, but its session says otherwise"
    if hold.state is HoldState.OPEN and hold.expires_ms <= now_ms:
        yield f"{hold.id}: expired {now_ms - hold.expires_ms} ms ago and is still open"


class Watch:
    """Checks each step of a tree, by what it touches alone. One at a time for a tree."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._before: dict[Account, dict[Place, Standing]] = {}
        self._totals: dict[Account, tuple[Vector, Vector]] = {}
        self._edges: dict[Account, Account] = {}
        self._nearest: set[Account] = set()
        """Those that were counted on themselves: sessions, and whatever was corrected."""
        self._extended: set[Account] = set()
        state.on_touch = self._touch

    def _touch(self, chain: tuple[Account, ...], extends: bool) -> None:
        if extends:
            self._extended.update(chain)
        now_ms = self._state.now_ms
        for account in chain:
            if account not in self._before:
                self._state.turn(account, now_ms)
                self._before[account] = _limited(account, now_ms)
                self._totals[account] = (account.spent_in(LIFETIME_PLACE), account.held_in(LIFETIME_PLACE))
        self._edges.update(pairwise(chain))
        self._nearest.add(chain[0])

    def violations(self) -> list[str]:
        """What the changes since the last call did that none may."""
        found: list[str] = []
        now_ms = self._state.now_ms
        deltas: dict[Account, tuple[Vector, Vector]] = {}
        for account, before in self._before.items():
            self._state.turn(account, now_ms)
            found.extend(violations_of_step(before, _limited(account, now_ms), extends=account in self._extended))
            deltas[account] = self._delta(account)
            if min(account.held) < 0 or min(account.spent) < 0:
                found.append(f"{account.path}: {account.spent} spent, {account.held} held")
        found.extend(self._uneven(deltas))
        self._before.clear()
        self._totals.clear()
        self._edges.clear()
        self._nearest.clear()
        self._extended.clear()
        return found

    def _delta(self, account: Account) -> tuple[Vector, Vector]:
        spent, held = self._totals[account]
        return minus(account.spent_in(LIFETIME_PLACE), spent), minus(account.held_in(LIFETIME_PLACE), held)

    def _uneven(self, deltas: Mapping[Account, tuple[Vector, Vector]]) -> Iterable[str]:
        """What is counted below is counted above, and nothing else is, but on an account itself."""
        sums: dict[Account, tuple[Vector, Vector]] = {}
        for account, parent in self._edges.items():
            spent, held = sums.get(parent, (NOTHING, NOTHING))
            sums[parent] = (plus(spent, deltas[account][0]), plus(held, deltas[account][1]))
        for parent, (spent, held) in sums.items():
            if parent not in self._nearest and (minus(spent, NOTHING), minus(held, NOTHING)) != deltas[parent]:
                yield f"{parent.path}: changed by {deltas[parent]}, what is under it by {(spent, held)}"


def _limited(account: Account, now_ms: int) -> dict[Place, Standing]:
    return {
        (account.path, limit.window, limit.resource): _standing(
            account, limit.window, limit.resource, limit.amount, now_ms
        )
        for limit in _enforced(account)
    }


def _enforced(account: Account) -> tuple[Limit, ...]:
    return account.limits if account.allowance.enforcement is Enforcement.ENFORCE else ()


def _standing(account: Account, window: Window, resource: Resource, limit: int | None, now_ms: int) -> Standing:
    spent, held, _ = standing_of(account, Limit(window, resource, 0), now_ms)
    begun_ms = 0 if window is Window.LIFETIME else account.windows[RUNNING_WINDOWS.index(window)].start_ms
    return Standing(begun_ms, spent, held, limit)

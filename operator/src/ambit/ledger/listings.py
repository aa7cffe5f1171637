"""Lists of sessions, a page at a time: what the writer does at once is bounded, however many sessions there are.

The order is that of their opening, of one millisecond by path, and a page ends with the moment and the path of the last
one looked at: whichever process is the writer by then can go on from there. Where it is the same one, it remembers what
is left to be looked at.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from ambit.ledger import wire
from ambit.ledger.accounts import Account
from ambit.ledger.state import State
from ambit.ledger.step import Step
from ambit.ledger.views import state_of, usage

LOOKED_AT = 4000
"""How many sessions are looked at for one page at the most, where few of them are in the state that is asked for."""
REMEMBERED = 8
"""How many lists are remembered: of others all sessions are gone through again."""
FORGOTTEN_AFTER_MS = 60_000


class _Key(NamedTuple):
    under: str
    state: wire.State | None
    after: str


class _Rest(NamedTuple):
    at_ms: int
    found: list[Account]
    place: int
    """Of the first that has not been looked at."""


class Listings:
    """Answers `ListSessions`."""

    def __init__(self) -> None:
        self._rests: dict[_Key, _Rest] = {}

    def answer(self, step: Step, op: wire.ListSessions) -> wire.Sessions | wire.ErrorResult:
        """A page, or all where no page is asked for, as the release before does."""
        found = self._found(step.state, op, step.now_ms)
        if not isinstance(found, _Rest):
            return found
        place, page = found.place, list[Account]()
        ends = len(found.found) if op.at_most is None else min(len(found.found), place + LOOKED_AT)
        most = len(found.found) if op.at_most is None else op.at_most
        in_order = place
        while place < ends and len(page) < most:
            if place == in_order:
                in_order = _put_in_order(found.found, place)
            account = found.found[place]
            place += 1
            if step.state.accounts.get(account.path) is account and op.state in (None, state_of(account)):
                page.append(account)
        following = None
        if place < len(found.found):
            following = _token(found.found[place - 1])
            self._remember(_Key(op.under, op.state, following), _Rest(step.now_ms, found.found, place))
        return wire.Sessions(tuple(usage(step.state, each, step.now_ms) for each in page), following)

    def _found(self, state: State, op: wire.ListSessions, now_ms: int) -> _Rest | wire.ErrorResult:
        for key in [key for key, rest in self._rests.items() if rest.at_ms + FORGOTTEN_AFTER_MS < now_ms]:
            del self._rests[key]
        after = None if op.after is None else _Token.of(op.after)
        if op.after is not None and after is None:
            return wire.Invalid(f"after is {op.after!r}: give back what the page before said is next")
        if op.after is not None and (rest := self._rests.get(_Key(op.under, op.state, op.after))) is not None:
            return rest
        if "/" not in op.under:
            found = list(state.sessions_in.get(op.under, ()))
        elif (account := state.accounts.get(op.under)) is not None:
            found = _under(account)
        else:
            return wire.UnknownAccount(op.under)
        return _Rest(now_ms, found, 0 if after is None else after.place_in(found))

    def _remember(self, key: _Key, rest: _Rest) -> None:
        self._rests[key] = rest
        while len(self._rests) > REMEMBERED:
            del self._rests[next(iter(self._rests))]


class _Token(NamedTuple):
    """The last session that was looked at."""

    opened_ms: int
    path: str

    @classmethod
    def of(cls, text: str) -> "_Token | None":
        number, mark, path = text.partition(":")
        return cls(int(number), path) if mark and number.isascii() and number.isdecimal() and len(number) < 18 else None

    def place_in(self, found: list[Account]) -> int:
        """Where to go on: it may itself have left."""
        first = bisect_left(found, self.opened_ms, key=_opened_ms)
        if first == len(found) or _opened_ms(found[first]) != self.opened_ms:
            return first
        return bisect_right(found, self.path, first, _put_in_order(found, first), key=_path)


def _put_in_order(found: list[Account], first: int) -> int:
    """Sorts those that were opened in the millisecond of the one at `first`, from there on; where they end."""
    end = first + 1
    while end < len(found) and _opened_ms(found[end]) == _opened_ms(found[first]):
        end += 1
    if end - first > 1:
        found[first:end] = sorted(found[first:end], key=_path)
    return end


def _path(account: Account) -> str:
    return account.path


def _token(account: Account) -> str:
    return f"{_opened_ms(account)}:{account.path}"


def _opened_ms(account: Account) -> int:
    return 0 if account.session is None else account.session.opened_ms


def _under(top: Account) -> list[Account]:
    """The sessions at and under an account and those in its name elsewhere, in the order of their opening.

    As `Account.sessions`; sessions under which there is nothing, which are most, are taken together.
    """
    found: list[Account] = []
    pending, seen = [top], set[Account]()
    runs, adopts = 0, False
    while pending:
        account = pending.pop()
        if account in seen:
            continue
        seen.add(account)
        if account.session is not None:
            found.append(account)
            runs += 1
        for below in (account.children, account.adopted):
            leaves = [each for each in below.values() if not each.children and each.session is not None]
            found.extend(leaves)
            runs += bool(leaves)
            if len(leaves) < len(below):
                pending.extend(each for each in below.values() if each.children or each.session is None)
        adopts = adopts or bool(account.adopted)
    if adopts:
        found = list(dict.fromkeys(found))
    if runs > 1:  # one account's are in their order
        found.sort(key=_opened_ms)
    return found

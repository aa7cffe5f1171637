"""All that the model remembers, and how it counts."""

from collections.abc import Iterator, Sequence

from ambit.ledger.amounts import INDEX, Limit, Vector, Window
from ambit.ledger.windows import LIFETIME, window_after, window_at
from tests.ledger_simulation.model.accounts import SIZE, ModelAccount, ModelKill, Running
from tests.ledger_simulation.model.holds import Holders, ModelHold

NEVER_MS = 2**63


class ModelState:
    """All accounts and holds by the facts so far.

    `windows`: those that this run's limits use, and no others. `at_once`: how much falls due in one step at the least,
    where there is so much.
    """

    def __init__(self, windows: Sequence[Window], at_once: int) -> None:
        self.windows = tuple(windows)
        self.at_once = at_once
        self.now_ms = 0
        self.accounts: dict[str, ModelAccount] = {}
        self.sessions: dict[str, ModelAccount] = {}
        """Those of the accounts that are sessions."""
        self.folded: dict[str, ModelAccount] = {}
        """Sessions that the ledger forgot."""
        self.holds: dict[str, ModelHold] = {}
        self.open: dict[str, ModelHold] = {}
        self.holders = Holders()
        self.kills: dict[ModelAccount, ModelKill] = {}
        """Those that are not confirmed."""
        self.next_expiry_ms = NEVER_MS
        """No hold expires before."""
        self.problems: list[str] = []
        self.restoring = False
        """It was restored from a backup, and has not been told what was spent since."""

    def wrong(self, what: str) -> None:
        """A rule is broken."""
        self.problems.append(what)

    # -- accounts

    def new_account(self, path: str, parent: ModelAccount | None, limits: tuple[Limit, ...], zone: str) -> ModelAccount:
        """A Budget's, Agent's or user's: it counts every window."""
        lifetime = Running.begun(Window.LIFETIME, LIFETIME, zone)
        windows = [Running.begun(each, window_at(each, zone, self.now_ms), zone) for each in self.windows]
        account = self.accounts[path] = ModelAccount(path, parent, limits, zone, [lifetime, *windows])
        return account

    def turn(self, account: ModelAccount) -> None:
        """Brings its windows to now."""
        if self.now_ms < account.turns_ms:
            return
        for running in account.running:
            end_ms = running.span.end_ms
            if end_ms is not None and self.now_ms >= end_ms:
                span = window_after(running.window, end_ms, running.zone, account.zone, self.now_ms)
                if span.start_ms < end_ms or span.end_ms is None or span.end_ms <= self.now_ms:
                    self.wrong(f"{account.path} {running.window}: {running.span} is followed by {span}")
                running.span, running.zone = span, account.zone
                running.spent, running.held = [0] * SIZE, [0] * SIZE
                for bound in [each for each in account.raised if each[0] is running.window]:
                    del account.raised[bound]
                    account.look_at_limits()
        account.turns_ms = min(each.span.end_ms or NEVER_MS for each in account.running)

    def under(self, top: ModelAccount) -> Iterator[ModelAccount]:
        """The sessions at and under an account, and those in its name, with all that is under these."""
        for account in self.sessions.values():
            if any(
                above is top or (above.agent is not None and top in above.agent.chain()) for above in account.chain()
            ):
                yield account

    def gauge(self, account: ModelAccount) -> int:
        """How many sessions it counts."""
        return sum(
            each.counts and (each.agent is account or account in each.chain()) for each in self.sessions.values()
        )

    def quiet(self, session: ModelAccount) -> None:
        """Nothing is held for a session any more: from now on it is idle, and those above it may be."""
        for above in session.chain():
            above.busy_ms = self.now_ms
        if session.ended:
            for kill in self.kills.values():
                if session in kill.waiting:
                    kill.waiting.remove(session)

    # -- counting

    def hold(self, chain: tuple[ModelAccount, ...], amount: Vector, extends: bool = False) -> None:
        """Counts what is granted now, and looks whether it may be."""
        for account in chain:
            for running in account.running:
                held = running.held
                for index, value in amount.items():
                    held[index] += value
            if account.shadow:
                continue
            for limit in account.bounds(extends):
                index = INDEX[limit.resource]
                if index in amount:
                    at = account.at(limit.window)
                    if at.spent[index] + at.held[index] > limit.amount:
                        self.wrong(
                            f"overspent: {account.path} {limit.window} {limit.resource}: {at.spent[index]} spent, "
                            f"{at.held[index]} held, limit {limit.amount}"
                        )

    def expire(self, hold_id: str) -> None:
        """Nobody settled a hold in time: all of it is charged."""
        hold = self.open.get(hold_id)
        if hold is None or hold.expires_ms > self.now_ms:
            self.wrong(f"{hold_id} is said to have expired: it is {hold}")
            return
        hold.chain[0].silent += 1
        for kill in self.kills.values():
            kill.presumed = kill.presumed or hold.chain[0] in kill.waiting
        self.close(hold, hold.total, expires=True)

    def look_at_expiries(self, expired: int) -> None:
        """Whatever is due has expired, unless there is much of it: then so many at a time."""
        if self.now_ms >= self.next_expiry_ms:
            self.next_expiry_ms = min((each.expires_ms for each in self.open.values()), default=NEVER_MS)
            if self.now_ms >= self.next_expiry_ms and expired < self.at_once:
                self.wrong(f"a hold expired at {self.next_expiry_ms}, it is {self.now_ms}, and it is open yet")

    def close(self, hold: ModelHold, used: Vector, expires: bool = False) -> None:
        """Charges what was used; of a hold that has expired, in the place of all of it."""
        correction = hold.expired
        hold.chain[0].silent -= correction
        for account in hold.chain:
            self.turn(account)
        for part in hold.parts:
            share = {index: min(used.get(index, 0), held) for index, held in part.amount.items()}
            used = {index: rest for index, value in used.items() if (rest := value - share.get(index, 0))}
            for account in hold.chain:
                for running in account.running:
                    if part.granted_ms >= running.span.start_ms:
                        for index, value in share.items():
                            running.spent[index] += value - part.charged.get(index, 0)
                        if correction:
                            account.level(running)
                        if not correction:
                            for index, value in part.amount.items():
                                running.held[index] -= value
            part.charged = share
        for account in hold.chain if used else ():
            for running in account.running:
                for index, value in used.items():
                    running.spent[index] += value
        hold.expired = expires
        if not expires:
            self.holders.heard(hold.id, self.now_ms)
        if not correction:
            hold.open, hold.closed_ms, hold.speculative = False, self.now_ms, False
            del self.open[hold.id]
            session = hold.chain[0]
            session.open_holds -= 1
            if not session.open_holds:
                self.quiet(session)

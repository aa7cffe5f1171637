"""Sessions that are opened, ended, abandoned and folded."""

from collections.abc import Iterable

from ambit.ledger import wire
from ambit.ledger.amounts import Window
from ambit.ledger.paths import user_path
from ambit.ledger.windows import LIFETIME
from tests.ledger_simulation.model.accounts import ModelAccount, Running
from tests.ledger_simulation.model.exhaustion import unpark
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.state import ModelState
from tests.ledger_simulation.model.tree import tightened

FOLD_AFTER_MS = 600_000
RECORD_KEPT_MS = 30 * 24 * 3600 * 1000
"""For so long it is known of a session that it was, and has ended."""
Ends = wire.Close | wire.Kill | wire.RemoveAccount
"""The operations that end sessions: those under what they name."""


def opened(state: ModelState, fact: Fact, op: wire.Open) -> None:
    """A session, or a sub-session, is opened; or it was before."""
    result = fact.result
    known = state.accounts.get(op.path)
    if isinstance(result, wire.Opened) and result.already is (known is None):
        state.wrong(f"{op.path} is open: {known is not None}; the ledger says {result.already}")
    parent = state.accounts.get(op.parent)
    if known is not None and not (known.ended or known.doomed) and fact.had_no_room:
        state.wrong(f"{op.path} is open, and whoever opened it is told {result}")
    if known is not None or parent is None or fact.had_no_room:
        return
    before = state.folded.get(op.path)
    if before is not None and state.now_ms < before.ended_ms + RECORD_KEPT_MS and isinstance(result, wire.Opened):
        state.wrong(f"{op.path} was open before, has ended and folded, and begins anew with fresh limits")
    if before is not None and isinstance(result, wire.Refused) and result.account == op.path:
        return  # it has folded with this very operation, and is known to have ended
    chain = parent.chain()
    agent = None if op.agent is None else state.accounts[op.agent]
    bounds = chain if agent is None or agent in chain else (agent, *chain)
    closed = any(above.closed for above in bounds)
    expected = "Refused" if closed else "Wait" if crowded(state, bounds) else "Opened"
    if type(result).__name__ != expected:
        state.wrong(f"{op.path}: {expected} was due, and the ledger says {result}")
    if not isinstance(result, wire.Opened):
        return
    crowds = {each.path for each in bounds if each.shadow and is_full(state, each)}
    if {each.account for each in result.shadow} != crowds:
        state.wrong(f"{op.path}: {crowds} would have refused it, and not {result.shadow}")
    limits = op.limits if agent is None or agent.shadow else tightened(op.limits, agent.base)
    lifetime = [Running.begun(Window.LIFETIME, LIFETIME, "")]
    session = ModelAccount(op.path, _owner(state, op, parent), limits, "", lifetime, opened=op, busy_ms=state.now_ms)
    session.agent = None if agent in chain else agent
    state.accounts[op.path] = state.sessions[op.path] = session


def crowded(state: ModelState, chain: Iterable[ModelAccount]) -> bool:
    """Whether as many sessions are open as may be."""
    return any(not above.shadow and is_full(state, above) for above in chain)


def is_full(state: ModelState, account: ModelAccount) -> bool:
    """Whether so many are open as its `concurrentSessions` says."""
    most = None if account.put is None else account.put.concurrent_sessions
    return most is not None and state.gauge(account) >= most


def _owner(state: ModelState, op: wire.Open, parent: ModelAccount) -> ModelAccount:
    """Its user's account, where the Agent has or had limits by user."""
    if not parent.path.startswith("agent/") or parent.put is None:
        return parent
    path = user_path(parent.path, op.user)
    if path not in state.accounts and parent.put.user_limits is not None:
        state.new_account(path, parent, parent.put.user_limits, parent.zone)
    return state.accounts.get(path, parent)


def ended(state: ModelState, fact: Fact, op: Ends, named: list[ModelAccount]) -> None:
    """Sessions were closed, killed, or cut with an account that was removed. `named`: those that this ends."""
    over = set(fact.over)
    done = isinstance(fact.result, wire.SessionClosed | wire.Killed | wire.AccountRemoved)
    for account in named:
        if account.path in over:
            be_over(state, account)
        elif done and not (account.ended or account.doomed):
            state.wrong(f"{account.path} goes on after {op}")
    if isinstance(op, wire.RemoveAccount) and isinstance(fact.result, wire.AccountRemoved):
        account = state.accounts.get(op.path)
        if account is not None:
            account.removed = True


def abandoned(state: ModelState, path: str) -> None:
    """The ledger ended a session by itself."""
    account = state.accounts[path]
    opened_by = account.opened
    above_ended = any(each.ended for each in account.chain()[1:] if each.opened is not None)
    if opened_by is None:
        state.wrong(f"{path} was ended and is no session")
    elif account.doomed:
        pass
    elif account.parked is not None and not above_ended:
        state.wrong(f"{path} was ended, and is parked: its idle time stands still")
    elif (account.open_holds or account.busy_ms + opened_by.grace_ms > state.now_ms) and not above_ended:
        state.wrong(f"{path} was ended, and was in use {state.now_ms - account.busy_ms} ms ago")
    be_over(state, account)


def doom(found: Iterable[ModelAccount]) -> None:
    """They are about to end, bit by bit: nothing new is held for any of them."""
    for account in found:
        account.doomed = not account.ended


def be_over(state: ModelState, account: ModelAccount) -> None:
    """A session has ended."""
    unpark(account)
    account.ended, account.ended_ms, account.doomed = True, state.now_ms, False
    if not account.open_holds:
        state.quiet(account)


def fold(state: ModelState, path: str) -> None:
    """The ledger forgot a session."""
    account = state.accounts.pop(path)
    del state.sessions[path]
    state.folded[path] = account
    state.kills.pop(account, None)
    if not account.ended or account.open_holds or account.ended_ms + FOLD_AFTER_MS > state.now_ms:
        state.wrong(f"{path} was folded: it ended at {account.ended_ms}, {account.open_holds} open holds")

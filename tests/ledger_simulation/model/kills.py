"""Kills, until nothing acts any more of what they found."""

from ambit.ledger import changes, wire
from tests.ledger_simulation.model.accounts import ModelAccount, ModelKill
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.state import ModelState


def begin(state: ModelState, op: wire.Kill, result: wire.AnyResult | None, found: list[ModelAccount]) -> None:
    """Whom a kill has to wait for: `found` are the sessions under what it names, before any of them ended."""
    top = state.accounts.get(op.path)
    if top is None or not isinstance(result, wire.Killed):
        return
    acting = [each for each in found if each.acts]
    if result.sessions != tuple(sorted(each.path for each in acting)):
        state.wrong(f"{op} found {result.sessions}, and {[each.path for each in acting]} act")
    if top.kill is None or any(not (each.ended or each.doomed) for each in found):
        top.kill = state.kills[top] = ModelKill(acting, presumed=any(each.silent for each in found))


def end(state: ModelState, fact: Fact) -> None:
    """Those that are confirmed in a step, once all else of it is done: each as soon as it can be, and none before."""
    for change in fact.made:
        if isinstance(change, changes.KillEnded):
            account = state.accounts[change.path]
            kill = state.kills.pop(account, None)
            if kill is None or kill.waiting:
                state.wrong(f"the kill of {change.path} is confirmed, and still waits for {kill and kill.waiting}")
                continue
            expected = wire.Confirmation.PRESUMED if kill.presumed else wire.Confirmation.OBSERVED
            if change.how is not expected:
                state.wrong(f"the kill of {change.path} is {change.how}, and not {expected}")
            kill.confirmed = change.how
    for account, kill in state.kills.items():
        if not kill.waiting:
            state.wrong(f"nothing acts any more of {account.path}, and its kill is not confirmed")
    if isinstance(fact.op, wire.Kill) and isinstance(fact.result, wire.Killed):
        kill = state.accounts[fact.op.path].kill
        if kill is not None and fact.result.confirmed is not kill.confirmed:
            state.wrong(f"{fact.op} is said to be {fact.result.confirmed}, and is {kill.confirmed}")

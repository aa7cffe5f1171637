"""What the ledger says of an account, held against the model."""

from collections.abc import Iterator

from msgspec.structs import astuple

from ambit.ledger import wire
from ambit.ledger.amounts import INDEX
from tests.ledger_simulation.model.accounts import ModelAccount
from tests.ledger_simulation.model.exhaustion import unwarned
from tests.ledger_simulation.model.state import ModelState


def differences(state: ModelState, account: ModelAccount, said: wire.Usage) -> Iterator[str]:
    """How it differs."""
    state.turn(account)
    lifetime = account.running[0]
    for what, counted, shown in (("spent", lifetime.spent, said.spent), ("held", lifetime.held, said.held)):
        if tuple(counted) != astuple(shown):
            yield f"{account.path} has {counted} {what}, and the ledger says {shown.vector()}"
    for view in said.limits:
        at, index = account.at(view.window), INDEX[view.resource]
        if (view.spent, view.held) != (at.spent[index], at.held[index]):
            yield (
                f"{account.path} {view.window} {view.resource}: {at.spent[index]} spent, {at.held[index]} held, "
                f"and the ledger says {view.spent}, {view.held}"
            )
    if tuple(view.limit for view in said.limits) != tuple(limit.amount for limit in account.limits):
        yield f"{account.path} has {account.limits}, and the ledger says {said.limits}"
    opened = account.opened
    if opened is None:
        if said.sessions != (open_ones := state.gauge(account)):
            yield f"{account.path} has {open_ones} sessions, and the ledger says {said.sessions}"
    elif (said.user, said.labels, said.parked) != (opened.user, opened.labels, account.parked is not None):
        yield f"{account.path} is {opened}, parked {account.parked}, and the ledger says {said}"
    parent = None if account.parent is None else account.parent.path
    if said.parent != parent:
        yield f"{account.path} is under {parent}, and the ledger says {said.parent}"
    yield from unwarned(account)

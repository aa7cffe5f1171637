"""What must be so once nothing is under way any more: the whole tree, and the records beside it."""

from collections.abc import Iterator

import msgspec

from ambit.ledger.allowance import KEPT_WINDOWS
from ambit.ledger.amounts import RESOURCES, Vector, Window, plus
from ambit.ledger.audit import Tampering, verify
from ambit.ledger.history import sessions_of
from ambit.ledger.invariant import violations
from ambit.ledger.records import Record, RecordKind
from ambit.ledger.tree import Tree
from tests.ledger_simulation.model import Model

WindowBody = tuple[Window, int, int, Vector]
"""Window, begin, end, what was spent in it: the body of a record, as it lies in the store."""


def leftovers(tree: Tree, model: Model) -> Iterator[str]:
    """What should have come to its end: holds, kills, and the sleep of sessions for which there is room."""
    yield from violations(tree.state, tree.state.now_ms)
    for account in model.accounts.values():
        if any(any(running.held) for running in account.running):
            yield f"{account.path} still holds {account.running[0].held}"
    for account in model.kills:
        yield f"the kill of {account.path} is not confirmed"
    for session in model.slumbering():
        yield f"{session.path} is still parked: {session.parked}"


def wrong_records(records: list[Record], tree: Tree, model: Model) -> Iterator[str]:
    """The audit is one whole chain, and the history adds up to what was spent."""
    verified = verify((each for each in records if each.kind is RecordKind.AUDIT), tree.state.audit_head)
    if isinstance(verified, Tampering) or verified.newer:
        yield f"the audit: {verified}"
    recorded: dict[tuple[str, str], Vector] = {}
    for each in records:
        if each.kind is RecordKind.WINDOW:
            window, _, _, spent = msgspec.msgpack.decode(each.body, type=WindowBody)
            recorded[each.path, window] = plus(recorded.get((each.path, window), {}), spent)
    for path in tree.state.ended.paths():
        for window, _, _, spent in tree.state.ended.of(path):
            recorded[path, window] = plus(recorded.get((path, window), {}), spent)
    for account in model.accounts.values():
        for running in account.running if account.opened is None else ():
            if running.window not in KEPT_WINDOWS:
                continue
            found = recorded.get((account.path, running.window), {})
            taken_back = account.taken_back.get(running.window, {})
            for index, spent in enumerate(account.running[0].spent):
                if found.get(index, 0) + running.spent[index] != spent + taken_back.get(index, 0):
                    yield (
                        f"{account.path} has spent {account.running[0].spent}, of that {running.spent} in the "
                        f"{running.window} that runs, and its records say {found} of those before"
                    )
                    break
    for usage in sessions_of(records):
        account = model.folded.get(usage.path)
        spent = None if account is None else account.running[0].spent
        if spent is None or [usage.spent.get(index, 0) for index in range(len(RESOURCES))] != spent:
            yield f"{usage.path} has spent {spent}, and its record says {usage.spent}"

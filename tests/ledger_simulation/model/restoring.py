"""What a restored ledger answers: nothing, until it was told what was spent since the backup."""

from ambit.ledger import wire
from ambit.ledger.amounts import RESOURCES
from tests.ledger_simulation.model import tree
from tests.ledger_simulation.model.state import ModelState


def answered(state: ModelState, op: wire.AnyOperation | None, result: wire.AnyResult | None) -> None:
    """Takes up what it was told; all else is refused."""
    if isinstance(op, wire.Resume) and isinstance(result, wire.Resumed):
        state.restoring = False
        for each in op.spent:
            for index, amount in each.amount.vector().items():
                tree.adjust(state, wire.Adjust(each.path, RESOURCES[index], amount, op.reason, op.by), wire.Adjusted())
    elif op is not None and not (
        isinstance(result, wire.Refused) and result.reason is wire.RefusalReason.RESTORE_PENDING
    ):
        state.wrong(f"{op} was answered {result} before anybody said what was spent since the backup")

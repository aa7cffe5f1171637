"""Whether the ledger holds an account as policy wants it: the one answer that Budgets and Agents both show."""

from dataclasses import dataclass

from ambit.control.accounts import Accounts, Parentless
from ambit.control.world import World
from ambit.ledger.client import LedgerError, LedgerUnavailable
from ambit.policy import Account
from ambit.telemetry.reasons import Progress


@dataclass(frozen=True)
class Enforcement:
    """`holds`: the ledger has the account with these limits; else why not."""

    holds: bool
    reason: Progress
    message: str = ""


ENFORCED = Enforcement(holds=True, reason=Progress.ENFORCED)
NOT_ACCEPTED = Enforcement(holds=False, reason=Progress.ACCOUNT_PENDING, message="it is not accepted")


async def enforce(
    world: World, accounts: Accounts, account: Account, time_zone: str, generation: int
) -> Enforcement | None:
    """Puts the account, if it has to be. None: the account above comes in a moment, and whoever waits is told then."""
    try:
        put = await accounts.put(account, time_zone, generation)
    except LedgerUnavailable as away:
        return Enforcement(holds=False, reason=Progress.LEDGER_AWAY, message=str(away))
    except LedgerError as wrong:
        return Enforcement(holds=False, reason=Progress.ACCOUNT_PENDING, message=str(wrong))
    if isinstance(put, Parentless):
        world.look_at_account(put.parent)
        if not put.failed:
            return None
        message = f"the ledger does not hold {put.parent} yet"
        return Enforcement(holds=False, reason=Progress.ACCOUNT_PENDING, message=message)
    if put:
        world.account_dependents(account.path)
    return ENFORCED

"""A session's account, from the first word to the last: opened before anything starts, closed when nothing is left."""

import asyncio
import logging
import secrets
from typing import Final

from ambit.gateway.refusals import ledger_away, not_yet
from ambit.gateway.sessions.refusals import by_ledger
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerError, LedgerUnavailable
from ambit.policy.verdict import SessionPolicy
from ambit.telemetry.reasons import SessionEnd

ACCOUNT_PATIENCE_S: Final = 5.0
"""How long an Agent's account may take to arrive: the operator puts it moments after the Agent was created."""
SETTLEMENT_PATIENCE_S: Final = 3.0
"""How long the last model calls may take to be settled, so that the usage shown at the end is the whole of it."""
POLL_S: Final = 0.05
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"

_log = logging.getLogger(__name__)


def new_session_id() -> str:
    """`s-` and 16 characters of lower-case base32: 80 random bits."""
    return "s-" + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def limits(policy: SessionPolicy) -> tuple[Limit, ...]:
    """Those of a session's account, in the ledger's words."""
    return tuple(Limit(Window(limit.window), Resource(limit.resource), limit.amount) for limit in policy.limits)


async def open_account(ledger: LedgerClient, opening: wire.Open) -> None:
    """Opens the session's account, waiting a little for the Agent's own. Raises RefusedCall."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + ACCOUNT_PATIENCE_S
    while True:
        try:
            answer = await ledger.open(opening)
        except AccountUnknown as error:
            if loop.time() >= deadline_s:
                raise not_yet(
                    f"the ledger does not have the account {opening.parent} yet: see whether the Agent is Ready"
                    " (kubectl get agents), and try again"
                ) from error
            await asyncio.sleep(POLL_S)
            continue
        except LedgerUnavailable as error:
            raise ledger_away() from error
        if isinstance(answer, wire.Refused | wire.Wait):
            raise by_ledger(answer, 0)
        return


async def close_account(ledger: LedgerClient, path: str, reason: SessionEnd, message: str) -> wire.Usage | None:
    """Ends the session in the ledger; the first reason given to it stays. None where the ledger is away: the session's
    holds expire and are charged, and it ends as Abandoned."""
    try:
        return (await ledger.close(wire.Close(path=path, reason=reason, message=message))).usage
    except (LedgerUnavailable, LedgerError) as error:
        _log.warning("session %s could not be closed: %s", path, error)
        return None


async def final_usage(ledger: LedgerClient, path: str) -> Amount | None:
    """What the session has used once nothing is held for it any more; None where the ledger is away."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + SETTLEMENT_PATIENCE_S
    while True:
        try:
            usage = await ledger.usage(wire.GetUsage(path=path))
        except (LedgerUnavailable, LedgerError) as error:
            _log.warning("the usage of %s could not be read: %s", path, error)
            return None
        if not usage.holds or loop.time() >= deadline_s:
            return usage.spent
        await asyncio.sleep(POLL_S)

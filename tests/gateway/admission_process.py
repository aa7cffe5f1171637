"""One gateway process of a test, without its HTTP: the production client, admission and holding ahead.

`python -m tests.gateway.admission_process URL SESSIONS CALLS QUEUE_S HOLD_AHEAD` makes one call in each session (first
to last, comma-separated), says so, waits for a line, and then makes so many calls at once, spread over its sessions,
each of which settles what it held. What became of them goes to stdout as one line of JSON: counts by outcome.
"""

import asyncio
import json
import sys
from collections import Counter

import uvloop

from ambit.gateway.admitting import Admitting
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.wire_format import RefusedCall
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient

ONE = Amount(model_calls=1)
AGENT = "agent/n/a"


async def main(url: str, sessions: list[Session], calls: int, queue_s: float, hold_ahead: bool) -> None:
    """Makes the calls and says what became of them."""
    outcomes: Counter[str] = Counter()
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def call(session: Session) -> None:
        try:
            hold = await admitting.admission.hold(session, ONE, ONE, gone)
        except RefusedCall as refused:
            outcomes[f"{refused.status} {refused.reason}"] += 1
            return
        await asyncio.sleep(0)  # what it was held for
        admitting.settlements.settle(session.path, hold.id, ONE)
        admitting.ahead.ended(session.path, session.parent)
        outcomes["admitted"] += 1

    async with LedgerClient(url, lambda: "user-gateway", deadline_s=60) as ledger:
        admitting = Admitting.over(ledger, hold_expires_in_ms=600_000, hold_ahead=hold_ahead, queue_s=queue_s)
        following = asyncio.create_task(admitting.events.run())
        await asyncio.gather(*(call(session) for session in sessions))
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        outcomes.clear()
        await asyncio.gather(*(call(sessions[number % len(sessions)]) for number in range(calls)))
        await admitting.ahead.stop(30)
        await admitting.settlements.finish(30)
        following.cancel()
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    paths = sys.argv[2].split(",")
    uvloop.run(
        main(
            sys.argv[1],
            [Session(path, AGENT, None, None) for path in paths],
            int(sys.argv[3]),
            float(sys.argv[4]),
            sys.argv[5] == "On",
        )
    )

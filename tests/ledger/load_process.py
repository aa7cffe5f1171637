"""One client process of a test: `python load_process.py URL HOLDER SESSION CALLS [AT_ONCE]`.

It makes that many calls through one `LedgerClient`, all at once or so many, each reserve then settle of one model call,
and prints what it was answered as one line of JSON: counts by kind of answer.
"""

import asyncio
import json
import sys
from collections import Counter

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient

ONE = Amount(model_calls=1)


async def main(url: str, holder: str, session: str, count: int, at_once: int) -> None:
    """Makes the calls and says what became of them."""
    answers: Counter[str] = Counter()
    room = asyncio.Semaphore(at_once)

    async def call(number: int) -> None:
        async with room:
            await make(number)

    async def make(number: int) -> None:
        hold = f"{holder}-{number}"
        result = await client.reserve(wire.Reserve(hold, session, ONE, ONE, 600_000))
        while isinstance(result, wire.Wait):
            await asyncio.sleep(0)
            result = await client.reserve(wire.Reserve(hold, session, ONE, ONE, 600_000))
        answers[type(result).__name__] += 1
        if isinstance(result, wire.Granted):
            await client.settle(wire.Settle(hold, ONE))

    async with LedgerClient(url, lambda: "user-gateway", deadline_s=60) as client:
        await asyncio.gather(*(call(number) for number in range(count)))
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[-1])))

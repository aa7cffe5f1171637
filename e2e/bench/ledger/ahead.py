"""What a call waits for whose hold is ahead: `python -m e2e.bench.ledger.ahead LEDGER_URL`, one gateway process.

Agents call in sequence, each with a prompt that grows as it goes, and pause between calls as an agent does that works
on what it was told. The client, admission and holding ahead are the gateway's own. It prints as one line of JSON how
long the decision of a call took which found its hold (the median, in microseconds), and the share of calls that did.
"""

import asyncio
import json
import random
import sys
import time
from statistics import median

import uvloop

from ambit.gateway.admitting import Admitting
from ambit.gateway.identity.session_directory import Session
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from e2e.bench.machine import LOAD_CORE, pin

AGENTS = 64
CALLS_EACH = 100
PAUSE_S = (0.05, 0.25)
FIRST_PROMPT_TOKENS = (1_000, 8_000)
STEP_TOKENS = (50, 1_500)
OUTPUT_TOKENS = 1_024
NANOS_PER_TOKEN = 3_000
GRACE_MS = 600_000
AGENT = "agent/bench/ahead"


def wanted(prompt_tokens: int) -> Amount:
    """What a call with such a prompt holds."""
    tokens = prompt_tokens + OUTPUT_TOKENS
    return Amount(usd_nanos=tokens * NANOS_PER_TOKEN, tokens=tokens, model_calls=1)


async def an_agent(admitting: Admitting, number: int, found_us: list[float]) -> None:
    """One session, from its opening to its last call."""
    pick = random.Random(number)
    session = Session(f"session/bench/ahead-{number}", AGENT, None, None)
    admitting.ahead.opened(session.path, session.parent)
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()
    prompt_tokens = pick.randint(*FIRST_PROMPT_TOKENS)
    for _ in range(CALLS_EACH):
        await asyncio.sleep(pick.uniform(*PAUSE_S))
        want = wanted(prompt_tokens)
        waited = asyncio.Event()
        noting = loop.call_soon(waited.set)  # runs if the decision gives the loop back: whoever waits for I/O does
        began_s = time.perf_counter()
        hold = await admitting.admission.hold(session, want, want, gone)
        took_us = (time.perf_counter() - began_s) * 1e6
        noting.cancel()
        if not waited.is_set():
            found_us.append(took_us)
        admitting.settlements.settle(session.path, hold.id, want)
        admitting.ahead.ended(session.path, session.parent)
        prompt_tokens += pick.randint(*STEP_TOKENS)


async def main(url: str) -> None:
    """Runs all agents and says what they saw."""
    async with LedgerClient(url, lambda: "user-operator") as operator:
        await operator.put_account(wire.PutAccount("budget/bench/ahead"))
        await operator.put_account(wire.PutAccount(AGENT, (), "budget/bench/ahead"))
    async with LedgerClient(url, lambda: "user-gateway") as ledger:
        for number in range(AGENTS):
            await ledger.open(wire.Open(f"session/bench/ahead-{number}", AGENT, GRACE_MS))
        admitting = Admitting.over(ledger, hold_expires_in_ms=120_000, hold_ahead=True)
        following = asyncio.create_task(admitting.events.run())
        found_us: list[float] = []
        await asyncio.gather(*(an_agent(admitting, number, found_us) for number in range(AGENTS)))
        await admitting.ahead.stop(10)
        await admitting.settlements.finish(10)
        following.cancel()
    share = len(found_us) / (AGENTS * CALLS_EACH)
    print(json.dumps({"ahead_p50_us": median(found_us), "ahead_share": share}))


if __name__ == "__main__":
    pin(LOAD_CORE)
    uvloop.run(main(sys.argv[1]))

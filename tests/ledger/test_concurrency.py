"""Many callers against a limit that admits exactly so many: exactly so many get through."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from tests.ledger.server import running

LOAD = Path(__file__).with_name("load_process.py")
BUDGET, SESSION = "budget/n/b", "session/n/s"
ADMITTED, PROCESSES, CALLS_EACH = 250, 3, 200


async def a_client_process(url: str, holder: str) -> Counter[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LOAD), url, holder, SESSION, str(CALLS_EACH), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Counter(json.loads(out))


async def test_three_processes_against_a_limit_get_exactly_what_it_admits(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, server.client("operator") as operator:
        limit = Limit(Window.LIFETIME, Resource.MODEL_CALLS, ADMITTED)
        await operator.put_account(wire.PutAccount(BUDGET, limits=(limit,)))
        await operator.open(wire.Open(SESSION, BUDGET, grace_ms=600_000))
        counts = await asyncio.gather(*(a_client_process(server.url, f"p{each}") for each in range(PROCESSES)))
        total = sum(counts, Counter[str]())
        assert total == {"Granted": ADMITTED, "Refused": PROCESSES * CALLS_EACH - ADMITTED}
        usage = await operator.usage(wire.GetUsage(BUDGET))
        assert (usage.spent, usage.held) == (Amount(model_calls=ADMITTED), Amount())

"""A data path in a process of its own, to be killed: `python gateway_process.py LEDGER_URL MODELS_URL SIGNER_PEM`.

It has one Agent, `team-x/researcher`, with the models `endless` and `spared`, whose first backend fails and whose
second is endless. Where it listens goes to stdout.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from ambit.gateway import data_plane
from ambit.ledger.client import LedgerClient
from tests.gateway.harness import Reviewer
from tests.gateway.world import StaticWorld, a_route, an_agent

HOLD_MS = 1500
SCRIPT = "tokens=9&hang_after=2"


async def main(ledger_url: str, models_url: str, signer_pem: bytes) -> None:
    """Serves until it is killed."""
    world = StaticWorld()
    world.put(a_route("endless", models_url, f"scripted?{SCRIPT}"))
    second = {"name": "second", "model": f"scripted?{SCRIPT}", "priority": 1, "price": {"input": "2", "output": "2"}}
    world.put(a_route("spared", models_url, "scripted?status=503", more=[second]))
    world.put(an_agent("team-x", "researcher", {"endless": "endless", "spared": "spared"}))
    settings = data_plane.DataPlaneSettings(
        sandbox_listen="127.0.0.1:0",
        isolate_listen="127.0.0.1:0",
        session_signer_pem=signer_pem,
        hold_expires_in_ms=HOLD_MS,
        silence_s=60,
        drain_s=0,
    )
    async with (
        LedgerClient(ledger_url, lambda: "user-gateway") as ledger,
        data_plane.serve(settings, ledger, world, Reviewer()) as plane,
    ):
        print(plane.sandbox_address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))

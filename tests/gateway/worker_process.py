"""One of several data paths on one port, as `ambit.gateway.workers` starts them, without an apiserver:
`python worker_process.py SANDBOX_LISTEN LEDGER_URL MODELS_URL SIGNER_PEM`.

It has one Agent, `team-x/researcher`, with two models: `smart`, and `slow`, which takes a second for its answer.
"""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from ambit.gateway import data_plane, workers
from ambit.kube import Identity
from ambit.ledger.client import LedgerClient
from ambit.telemetry import health
from tests.gateway.world import StaticWorld, a_route, an_agent

MODELS = {"smart": "tokens=2&input=10", "slow": "tokens=20&input=10&frame_ms=50"}


class Nobody:
    """Reviews tokens of isolate hosts, of which there are none. (The harness's imports would take seconds.)"""

    async def token_review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None:
        return None


async def main(listen: str, ledger_url: str, models_url: str, signer_pem: bytes) -> None:
    """Serves until SIGTERM, or until whoever started it is gone."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    world = StaticWorld()
    for name, script in MODELS.items():
        world.put(a_route(name, models_url, f"scripted?{script}"))
    world.put(an_agent("team-x", "researcher", {name: name for name in MODELS}))
    settings = data_plane.DataPlaneSettings(
        sandbox_listen=listen,
        isolate_listen="127.0.0.1:0",
        session_signer_pem=signer_pem,
        hold_expires_in_ms=1500,
        silence_s=60,
        drain_s=60,
        shared=True,
    )
    async with (
        health.serve("127.0.0.1:0", lambda: None) as health_address,
        LedgerClient(ledger_url, lambda: "user-gateway") as ledger,
        data_plane.serve(settings, ledger, world, Nobody()) as plane,
    ):
        saying = asyncio.ensure_future(workers.say_where(health_address, stop))
        await stop.wait()
        saying.cancel()
        plane.close_after_answers()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]).read_bytes()))

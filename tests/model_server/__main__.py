"""`python -m tests.model_server --listen HOST:PORT`."""

import argparse
import asyncio
import signal

from ambit.telemetry.health import split_address
from tests.model_server.server import running


async def serve(listen: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = split_address(listen)
    async with running(host, port) as server:
        print(server.url, flush=True)
        await stop.wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--listen", default="127.0.0.1:8000", help="HOST:PORT (default %(default)s)")
    asyncio.run(serve(arguments.parse_args().listen))

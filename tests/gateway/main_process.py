"""The real gateway process, as a test starts it: `python main_process.py`, settings from `AMBIT_*`.

It is `ambit.gateway.main.run`; the addresses that it got go to stdout as one line of JSON.
"""

import json
import os
import sys
from dataclasses import asdict

import uvloop

from ambit.gateway.main import Addresses, run
from ambit.gateway.settings import Settings
from ambit.telemetry import logs


def say(addresses: Addresses) -> None:
    """Tells the test where to go."""
    print(json.dumps(asdict(addresses)), flush=True)


if __name__ == "__main__":
    logs.configure("gateway")
    uvloop.run(run(Settings.from_env(os.environ), listening=say))
    sys.exit(0)

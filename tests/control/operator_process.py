"""The real operator process, as a test starts it: `ambit.control.main.run` with the environment's settings."""

import asyncio
import os

from ambit.control.main import run
from ambit.control.settings import Settings
from ambit.telemetry import logs

if __name__ == "__main__":
    logs.configure("operator", os.environ.get("LEVEL", "INFO"))
    asyncio.run(run(Settings.from_env(os.environ)))

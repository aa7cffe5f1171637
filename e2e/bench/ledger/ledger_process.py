"""The ledger under test: `python -m e2e.bench.ledger.ledger_process STORE`, its process as the chart runs it.

Tokens are user names, in place of an apiserver. It prints its addresses as one line of JSON once it serves.
"""

import json
import sys

import uvloop

from ambit.ledger.main import run
from ambit.ledger.settings import Settings
from ambit.telemetry import logs
from e2e.bench.machine import SERVER_CORE, pin


class NamesAsTokens:
    """The token `user-x` is the user `user-x`."""

    async def authenticate(self, token: str) -> str | None:
        return token if token.startswith("user-") else None


def say(operations: str, health: str) -> None:
    print(json.dumps({"operations": operations, "health": health}), flush=True)


if __name__ == "__main__":
    pin(SERVER_CORE)
    logs.configure("ledger")
    settings = Settings(
        store=sys.argv[1],
        components={"user-operator": "operator", "user-gateway": "gateway"},
        listen="127.0.0.1:0",
        health_listen="127.0.0.1:0",
    )
    uvloop.run(run(settings, NamesAsTokens(), listening=say))

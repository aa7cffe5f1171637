"""What is measured: ledgers that hold before a call and settle after it, for the same tree and amounts.

Four levels: an organisation's Budget, a team's, an Agent, a session. All callers are under one hot parent.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

USD_NANOS, TOKENS, CALLS = 5_000_000, 3000, 1
"""What each call holds."""
USED_USD_NANOS, USED_TOKENS = 3_000_000, 2000
"""What it then used."""
LIMIT = 2**52
"""Of every account and resource: never reached, always checked."""


class Caller(Protocol):
    """One client process's connection to a system under test."""

    async def reserve(self, leaf: int) -> str:
        """Holds for one call of session `leaf`; the hold's name. Raises RefusedHere where it is not granted."""
        ...

    async def settle(self, leaf: int, hold: str) -> None:
        """Replaces the hold by what was used."""
        ...


class RefusedHere(Exception):
    """A hold was refused, which the benchmark's limits never should."""


Connect = Callable[[str], AbstractAsyncContextManager[Caller]]
"""From an address to a connected caller."""

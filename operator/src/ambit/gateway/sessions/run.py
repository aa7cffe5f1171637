"""One running session as its caller sees it: output as it comes, a way to stop it, and how it ended."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from ambit.ledger.amounts import Amount
from ambit.telemetry.reasons import SessionEnd

OUTPUT_CHUNKS: Final = 64
"""So much output waits for a slow caller; then the environment waits."""


@dataclass(frozen=True)
class Stop:
    """Somebody or something wants the session to end."""

    reason: SessionEnd
    message: str


@dataclass(frozen=True)
class Ending:
    """How a session ended. `usage` is None where the ledger could not be asked; holds are then charged by expiry."""

    reason: SessionEnd
    message: str
    start_ms: int | None
    """From the request until the environment ran; None: it never did."""
    exit_code: int | None = None
    """A container's."""
    status: int | None = None
    """An isolate's: the HTTP status of its answer."""
    usage: Amount | None = None


@dataclass(eq=False)
class Run:
    """A session that this gateway runs. Its conductor writes; its caller reads."""

    namespace: str
    id: str
    path: str
    agent: str
    environment: str
    runtime_bound_ms: int
    requested_s: float
    """By the event loop's clock."""
    _output: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(OUTPUT_CHUNKS))
    _stop: asyncio.Future[Stop] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def stop(self, reason: SessionEnd, message: str) -> None:
        """Asks the conductor to end the session; the first wish counts."""
        if not self._stop.done():
            self._stop.set_result(Stop(reason, message))

    async def stopped(self) -> Stop:
        """Waits for the first wish to end it."""
        return await asyncio.shield(self._stop)

    def since_request_ms(self) -> int:
        """How long ago it was asked for."""
        return round((asyncio.get_running_loop().time() - self.requested_s) * 1000)

    async def write(self, output: bytes) -> None:
        """Passes output on, waiting for a slow caller."""
        await self._output.put(output)

    async def read(self) -> bytes:
        """The next output."""
        return await self._output.get()

    def read_nowait(self) -> bytes | None:
        """Output that waits already; None: nothing."""
        return None if self._output.empty() else self._output.get_nowait()

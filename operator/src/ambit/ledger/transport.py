"""How a client's operations get to the ledger and back: in order, together, and again until they are acknowledged."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import msgspec

from ambit.ledger import wire

MAX_BATCH = 1000
ATTEMPT_S = 4.0
"""How long one attempt may take before the batch is sent again on another connection."""
PAUSES_S = (0.02, 0.05, 0.1, 0.25, 0.5)
"""Between attempts; the last one again and again."""
log = logging.getLogger(__name__)
_results = msgspec.json.Decoder(wire.Results)


class AttemptFailed(Exception):
    """One attempt got no answer that counts; it is made again."""


@dataclass(frozen=True, slots=True)
class _Asked:
    op: wire.AnyOperation
    answer: asyncio.Future[wire.AnyResult]


class Transport:
    """One connection's worth of operations. One batch is under way at a time: order is kept, and what comes meanwhile
    goes together in the next."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: Callable[[], str]) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/v1/ops"
        self._token = token
        self._waiting: deque[_Asked] = deque()
        self._arrived = asyncio.Event()
        self.last_failure: str | None = None
        """What went wrong with the last attempt, for the message of whoever gives up."""

    async def ask(self, op: wire.AnyOperation) -> wire.AnyResult:
        """Answers one operation; waits for as long as it takes. Cancelled, it is not sent again."""
        asked = _Asked(op, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._arrived.set()
        return await asked.answer

    async def run(self) -> None:
        """Sends until it is cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(0)  # whoever is ready to ask now goes along
            self._arrived.clear()
            while batch := self._take():
                await self._deliver(batch)

    def _take(self) -> list[_Asked]:
        batch: list[_Asked] = []
        while self._waiting and len(batch) < MAX_BATCH:
            asked = self._waiting.popleft()
            if not asked.answer.done():
                batch.append(asked)
        return batch

    async def _deliver(self, batch: list[_Asked]) -> None:
        attempt = 0
        while batch := [asked for asked in batch if not asked.answer.done()]:
            try:
                results = await self._send([asked.op for asked in batch])
            except AttemptFailed as failure:
                self.last_failure = str(failure)
                log.warning("the ledger did not answer", extra={"fields": {"cause": str(failure), "attempt": attempt}})
                await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
                attempt += 1
                continue
            self.last_failure = None
            for asked, result in zip(batch, results, strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(result)
            return

    async def _send(self, ops: list[wire.AnyOperation]) -> list[wire.AnyResult]:
        body = msgspec.json.encode(wire.Operations(ops))
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
            async with self._http.post(self._url, data=body, headers=headers, timeout=timeout) as response:
                answer = await response.read()
                if response.status != 200:
                    raise AttemptFailed(f"HTTP {response.status}: {answer[:500].decode(errors='replace').strip()}")
            results = _results.decode(answer).results
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AttemptFailed(f"{type(error).__name__}: {error}") from error
        except msgspec.MsgspecError as error:
            raise AttemptFailed(f"an answer that is none: {error}") from error
        if len(results) != len(ops):
            raise AttemptFailed(f"{len(results)} answers to {len(ops)} operations")
        return results

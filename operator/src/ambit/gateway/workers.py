"""Several processes that serve on the same ports: starts them, starts one anew that ended or hangs, and ends them all.

A worker is told its number and where to listen by its environment. It says on its standard output where its health is,
and ends when its standard input does: whoever started it is gone then. Each has a client of the ledger of its own, and
so is a holder of its own: what one holds when it dies expires, and is charged, whatever becomes of the others.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import aiohttp
from prometheus_client import generate_latest

from ambit.telemetry import metrics
from ambit.telemetry.health import split_address
from ambit.telemetry.merged import merged

NUMBER: Final = "AMBIT_GATEWAY_WORKER"
LABEL: Final = "worker"
PARENT: Final = "parent"
PROBE_EACH_S: Final = 1.0
PROBE_S: Final = 5.0
HUNG_AFTER: Final = 3
"""Probes without an answer in a row, after which a worker is ended."""
TOO_SOON_S: Final = 5.0
"""A worker that ends so soon after its start waits for a moment before the next one."""
_log = logging.getLogger(__name__)


class WorkerFailed(Exception):
    """A worker ended before any had served: its settings cannot be used."""


def reserved(address: str) -> tuple[socket.socket, str]:
    """A port that workers can share, kept for them while none listens there, and its address, HOST:PORT.

    Raises OSError where it is taken.
    """
    host, port = split_address(address)
    kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind((host, port))
    return kept, f"{host}:{kept.getsockname()[1]}"


async def say_where(health_address: str, parent_gone: asyncio.Event) -> None:
    """A worker's part: says where its health is, and sets `parent_gone` when nobody is left to hear it."""
    print(health_address, flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    parent_gone.set()


class _Worker:
    def __init__(self, number: int, environ: Mapping[str, str]) -> None:
        self.number = number
        self.environ = environ
        self.process: asyncio.subprocess.Process | None = None
        self.health = ""
        self.waits_for: str | None = "starting"
        self.hung = False

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Workers:
    """Processes of one command, which differ in their environments."""

    def __init__(
        self, command: Sequence[str], environs: Sequence[Mapping[str, str]], serving: Callable[[], None] = lambda: None
    ) -> None:
        """`serving` is called once, as soon as the first of them can serve."""
        self._command = command
        self._serving = serving
        self._workers = [_Worker(number, {**environ, NUMBER: str(number)}) for number, environ in enumerate(environs)]
        self._stopping = asyncio.Event()
        self._served = False
        self._http: aiohttp.ClientSession | None = None

    @property
    def pids(self) -> list[int]:
        """Of those that run now, in the order of their numbers."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        return [process.pid for process in running if process.returncode is None]

    @property
    def ready(self) -> int:
        """How many can serve."""
        return [worker.waits_for for worker in self._workers].count(None)

    def not_ready(self) -> str | None:
        """Why no worker can serve; None: at least one can."""
        if self._stopping.is_set():
            return "stopping"
        return None if self.ready else f"workers: {self._workers[0].waits_for}"

    def stop(self) -> None:
        """Asks every worker to end, which drains it; `run` returns when all have ended."""
        self._stopping.set()

    async def run(self) -> None:
        """Keeps the workers running until `stop`. Raises WorkerFailed."""
        timeout = aiohttp.ClientTimeout(total=PROBE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as self._http, asyncio.TaskGroup() as tasks:
                for worker in self._workers:
                    tasks.create_task(self._keep(worker))
                await self._stopping.wait()
                for worker in self._workers:
                    worker.signal(signal.SIGTERM)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGKILL)

    async def exposition(self) -> bytes:
        """The metrics of all that answer, and of this process."""
        answers = await asyncio.gather(*[self._ask(worker, "metrics") for worker in self._workers])
        told = {str(worker.number): answer[1] for worker, answer in zip(self._workers, answers, strict=True) if answer}
        return merged({**told, PARENT: generate_latest().decode()}, LABEL)

    async def _keep(self, worker: _Worker) -> None:
        loop = asyncio.get_running_loop()
        cause = "First"
        while not self._stopping.is_set():
            metrics.GATEWAY_WORKER_STARTS.labels(cause).inc()
            started_at_s = loop.time()
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*self._command, env=worker.environ, stdin=pipe, stdout=pipe)
            worker.process, worker.hung = process, False
            if self._stopping.is_set():  # it was too late to be told with the others
                worker.signal(signal.SIGTERM)
            probing = loop.create_task(self._probe(worker, process))
            try:
                status = await process.wait()
            finally:
                probing.cancel()
                worker.waits_for = "starting"
                worker.health = ""
            if self._stopping.is_set():
                return
            if not self._served:
                raise WorkerFailed(f"worker {worker.number} ended with status {status} before it served")
            cause = "Hung" if worker.hung else "Exited"
            _log.error("worker %d ended with status %d and is started anew", worker.number, status)
            if loop.time() - started_at_s < TOO_SOON_S:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 1.0)

    async def _probe(self, worker: _Worker, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        worker.health = (await process.stdout.readline()).decode().strip()
        unanswered = 0
        while worker.health:
            answer = await self._ask(worker, "readyz")
            unanswered = 0 if answer else unanswered + 1
            if answer:
                status, text = answer
                worker.waits_for = None if status == 200 else text.strip()
                if status == 200 and not self._served:
                    self._served = True
                    self._serving()
            elif unanswered >= HUNG_AFTER:
                _log.error("worker %d does not answer; it is ended", worker.number)
                worker.hung = True
                worker.signal(signal.SIGKILL)
                return
            await asyncio.sleep(PROBE_EACH_S)

    async def _ask(self, worker: _Worker, path: str) -> tuple[int, str] | None:
        """A worker's answer; None: it gave none."""
        if not worker.health or self._http is None:
            return None
        try:
            async with self._http.get(f"http://{worker.health}/{path}") as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

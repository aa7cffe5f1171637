"""A shard: one workerd process, with its sockets, its folder and its watchdog."""

import asyncio
import logging
import re
import shutil
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

import aiohttp
from aiohttp import web

from ambit.api.names import SESSION_HEADER
from ambit.isolates.output import relay
from ambit.isolates.process import cpu_ms, start_confined
from ambit.isolates.settings import Settings
from ambit.isolates.watchdog import HangBudget, is_hung

log = logging.getLogger(__name__)

START_DEADLINE_S = 30.0
CONNECT_RETRY_S = 0.005
HEARTBEAT_INTERVAL_S = 0.025
WATCH_INTERVAL_S = 0.020
UNLOAD_DEADLINE_S = 5.0
OUTSIDE_SHUTDOWN_S = 1.0
HEARTBEAT = b"GET / HTTP/1.1\r\nHost: shard\r\n\r\n"
OBJECT_ID = re.compile(r"[0-9a-f]{64}")


class ShardEnd(StrEnum):
    """Why a shard takes no more sessions (label `cause` of ambit_isolate_shard_starts_total)."""

    RECYCLED = "Recycled"
    HUNG = "Hung"
    EXITED = "Exited"
    UNLOAD_FAILED = "UnloadFailed"
    STOPPED = "Stopped"


class ShardStartFailed(Exception):
    """workerd did not come up; the message says why."""


class ShardBrokeOff(Exception):
    """The connection to the shard ended, or never came about: it died, or an agent broke off its answer."""


class Shard:
    """Runs agents. `retired` is set when it takes no more of them, `dead` when nothing of it is left."""

    def __init__(self, number: int, settings: Settings, outside: Callable[["Shard"], web.Application]) -> None:
        """`outside` makes what the shard's agents reach: their code, and the gateway."""
        self.number = number
        self.retired = asyncio.Event()
        self.dead = asyncio.Event()
        self.end: ShardEnd | None = None
        self.loading = asyncio.Lock()
        """Held while an agent's code is loaded: several in a row would look like a hang."""
        self._settings = settings
        self._loads = 0
        self._running = 0
        self._folder = settings.state_dir / f"shard-{number}"
        self._inside = self._folder / "in.sock"
        self._outside = web.AppRunner(
            outside(self), access_log=None, handler_cancellation=True, shutdown_timeout=OUTSIDE_SHUTDOWN_S
        )
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        # A connection for each request: workerd may close an idle one at any time, and a POST is not repeated.
        self._client = aiohttp.ClientSession(
            "http://shard",
            connector=aiohttp.UnixConnector(str(self._inside), limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )

    async def start(self) -> None:
        """Returns when the shard answers. Raises ShardStartFailed."""
        state = self._folder / "state"
        await asyncio.to_thread(state.mkdir, parents=True)
        await self._outside.setup()
        await web.UnixSite(self._outside, str(self._folder / "out.sock")).start()
        settings = self._settings
        command = [
            *(str(settings.workerd), "serve", str(settings.shard_config), "shard", "--experimental"),
            *("--socket-addr", f"supervisor=unix:{self._inside}"),
            *("--external-addr", f"outside=unix:{self._folder / 'out.sock'}"),
            *("--directory-path", f"state={state}"),
        ]
        try:
            self._process = await start_confined(
                command, memory_bytes=settings.shard_memory_bytes, file_bytes=settings.session_disk_bytes
            )
        except OSError as error:
            await self._clean_up()
            raise ShardStartFailed(f"{settings.workerd}: {error}") from error
        self._tasks.append(asyncio.create_task(self._reap(self._process)))
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._tasks.append(asyncio.create_task(relay(stream, self.number)))
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                reader, writer = await self._connect()
                await _beat(reader, writer)
        except (TimeoutError, EOFError, OSError) as error:
            self.kill(ShardEnd.EXITED)
            await self.dead.wait()
            raise ShardStartFailed(f"it did not answer: {error!r}; its own words are in the log") from error
        self._tasks.append(asyncio.create_task(self._watch(reader, writer)))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def admit(self) -> None:
        """Counts one more agent in; the shard retires when it has loaded as many as it may."""
        self._loads += 1
        self._running += 1
        if self._loads >= self._settings.recycle_after_loads:
            self._retire(ShardEnd.RECYCLED)

    def release(self) -> None:
        """Counts an agent out again; a shard that was recycled goes with its last one."""
        self._running -= 1
        if self._running == 0 and self.retired.is_set():
            self.kill(ShardEnd.RECYCLED)

    @asynccontextmanager
    async def ask(
        self, method: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The host worker's answer, of which the body is still to come. Raises ShardBrokeOff."""
        if self._client.closed:
            raise ShardBrokeOff("it has died")
        try:
            answer = await self._client.request(method, "/", headers=headers, data=data)
        except (aiohttp.ClientError, OSError) as error:
            raise ShardBrokeOff(repr(error)) from error
        try:
            yield answer
        finally:
            answer.close()

    async def unload(self, session: str) -> None:
        """Ends the session's agent; returns when nothing of it is left, if need be of the whole shard."""
        try:
            async with (
                asyncio.timeout(UNLOAD_DEADLINE_S),
                self.ask("DELETE", {SESSION_HEADER: session}) as answer,
            ):
                if answer.status == HTTPStatus.NO_CONTENT:
                    await asyncio.to_thread(self._remove_database, answer.headers["x-ambit-object"])
                    return
        except (ShardBrokeOff, TimeoutError) as error:
            log.warning("an agent was not unloaded", extra={"fields": {"shard": self.number, "error": repr(error)}})
        self.kill(ShardEnd.UNLOAD_FAILED)
        await self.dead.wait()

    async def answers(self) -> bool:
        """Whether the shard still runs: its own answer, or its death, whichever comes."""
        death = asyncio.create_task(self.dead.wait())
        beat = asyncio.create_task(self._beat_once())
        done, pending = await asyncio.wait({death, beat}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if beat in done and beat.result():
            return True
        await self.dead.wait()
        return False

    def kill(self, why: ShardEnd) -> None:
        """SIGKILL: workerd ignores everything else while an agent spins. `dead` follows."""
        self._retire(why)
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """Ends the shard and all in it."""
        self.kill(ShardEnd.STOPPED)
        if self._process is None:  # stopped while it was being started
            await self._clean_up()
            self.dead.set()
        await self.dead.wait()

    def _retire(self, why: ShardEnd) -> None:
        self.end = self.end or why
        self.retired.set()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            if self.dead.is_set():
                raise EOFError("it exited")
            try:
                return await asyncio.open_unix_connection(str(self._inside))
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(CONNECT_RETRY_S)

    async def _beat_once(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._inside))
        except OSError:
            return False
        try:
            await _beat(reader, writer)
            return True
        except (EOFError, OSError):
            return False
        finally:
            writer.close()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = HangBudget(cpu_ms=self._settings.hang_ms, wall_ms=self._settings.stall_ms)
        while True:
            sent, cpu_then = time.monotonic(), cpu_ms(self.pid)
            answer = asyncio.create_task(_beat(reader, writer))
            suspected = False
            while not (await asyncio.wait({answer}, timeout=WATCH_INTERVAL_S))[0]:
                hung = is_hung((time.monotonic() - sent) * 1000, cpu_ms(self.pid) - cpu_then, budget)
                # Twice, with a wait between: it may have been our own loop that was late to read the answer.
                if hung and suspected:
                    log.error("a shard hangs and is killed", extra={"fields": {"shard": self.number}})
                    answer.cancel()
                    self.kill(ShardEnd.HUNG)
                    return
                suspected = hung
            if answer.exception() is not None:
                return  # the process is gone, and _reap says so
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    async def _reap(self, process: Process) -> None:
        code = await process.wait()
        self._retire(ShardEnd.EXITED)
        log.info("a shard has ended", extra={"fields": {"shard": self.number, "why": self.end, "exitCode": code}})
        await self._clean_up()
        self.dead.set()

    async def _clean_up(self) -> None:
        await self._client.close()
        await self._outside.cleanup()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _remove_database(self, object_id: str) -> None:
        if not OBJECT_ID.fullmatch(object_id):
            raise ValueError(f"{object_id!r} is no Durable Object's id")
        for file in (self._folder / "state" / "agents").glob(f"{object_id}.*"):
            file.unlink(missing_ok=True)


async def _beat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Raises EOFError or OSError where the shard is gone."""
    writer.write(HEARTBEAT)
    await reader.readuntil(b"\r\n\r\n")


def empty_state(state_dir: Path) -> None:
    """Removes what a supervisor before us left behind: an emptyDir outlives a container's restart."""
    state_dir.mkdir(parents=True, exist_ok=True)
    for left in state_dir.glob("shard-*"):
        shutil.rmtree(left)

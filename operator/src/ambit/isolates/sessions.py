"""The sessions that run on this host: who they are, which shard has them, and how they ended."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from ambit.isolates.shard import Shard
from ambit.isolates.shards import NoShard, Shards
from ambit.telemetry import metrics
from ambit.telemetry.reasons import HostError

ENDS_KEPT = 1_000
PLACE_KEPT_S = 30.0
"""For so long a place that was taken waits for its session: the gateway opens the session's account meanwhile."""
RUNTIME_GRACE_S = 2.0
"""So much after its runtime is over a session is ended here: the gateway, which can be reached, ends it before that."""


class HostRefusal(Exception):
    """The host refuses a request, or says how a session failed; `reason` and `message` go to the gateway."""

    def __init__(self, reason: HostError, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class SessionState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the gateway is told of one session."""

    state: str
    """`Running` or `Ended`."""
    reason: str = ""
    """Where ended: `Completed`, or a HostError."""
    message: str = ""


@dataclass(eq=False)
class Session:
    """A running session. `path` is `<namespace>/<id>`; `asked_s`: when its opening was asked for, by the event loop's
    clock.
    """

    path: str
    code_sha256: str
    shard: Shard
    asked_s: float
    requests: set[asyncio.Task[object]] = field(default_factory=set[asyncio.Task[object]])
    """What its agent is asking of the gateway now."""
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the agent's code has been loaded, or never will be."""
    ending: asyncio.Task[None] | None = None
    trace: Mapping[str, str] = field(default_factory=dict[str, str])
    """The headers of the trace that its opening is part of; so is what its agent asks of the gateway."""
    _deadline: asyncio.Timeout | None = None
    """While the agent runs."""

    @asynccontextmanager
    async def within(self, until_s: float) -> AsyncGenerator[None]:
        """Bounds what is awaited inside, by the event loop's clock. Raises HostRefusal (RuntimeExhausted).

        It depends on no connection: not on the gateway's, should its node be lost, nor on that to the agent.
        """
        try:
            async with asyncio.timeout_at(until_s) as self._deadline:
                yield
        except TimeoutError as error:
            raise HostRefusal(
                HostError.RUNTIME_EXHAUSTED, "the runtime that the gateway had told this host of was over"
            ) from error
        finally:
            self._deadline = None

    def renew(self, until_s: float) -> bool:
        """Moves the end of its runtime, later only; False where it has ended already."""
        if self._deadline is None or self._deadline.expired():
            return False
        self._deadline.reschedule(max(until_s, self._deadline.when() or until_s))
        return True


class Sessions:
    """All sessions of this host, at most `limit` at a time."""

    def __init__(self, shards: Shards, limit: int) -> None:
        self._shards = shards
        self._limit = limit
        self._running: dict[str, Session] = {}
        self._opening: set[str] = set()
        self._places: dict[str, float] = {}
        """Taken for sessions that are not opened yet; by path, until when, by the event loop's clock."""
        self._ended: OrderedDict[str, SessionState] = OrderedDict()

    def paths(self) -> list[str]:
        return sorted(self._running)

    def running(self, path: str) -> Session | None:
        return self._running.get(path)

    def on(self, shard: Shard, path: str) -> Session | None:
        """The session of that name, if it runs on that very shard and is not being ended."""
        session = self._running.get(path)
        return session if session is not None and session.shard is shard and session.ending is None else None

    def state(self, path: str) -> SessionState | None:
        """None: never heard of, or ended long ago."""
        session = self._running.get(path)
        return SessionState("Running") if session is not None and session.ending is None else self._ended.get(path)

    def take_place(self, path: str, now_s: float) -> None:
        """Keeps room for a session that is to be opened within `PLACE_KEPT_S`; asked again, from then on. Raises
        HostRefusal (SessionExists, Full).
        """
        self._make_room(path, now_s)
        self._places[path] = now_s + PLACE_KEPT_S

    def leave_place(self, path: str) -> None:
        """Gives the room back; nothing happens where none was kept."""
        self._places.pop(path, None)

    async def open(self, path: str, code_sha256: str, asked_s: float) -> Session:
        """Gives the session a shard, in the place that was taken for it or, where there is none, in a free one. Raises
        HostRefusal (SessionExists, Full, ShardDied).
        """
        self._make_room(path, asked_s)
        self._opening.add(path)
        try:
            shard = await self._shards.take()
        except NoShard as error:
            raise HostRefusal(HostError.SHARD_DIED, str(error)) from error
        finally:
            self._opening.remove(path)
        session = self._running[path] = Session(path, code_sha256, shard, asked_s)
        metrics.ISOLATE_SESSIONS.set(len(self._running))
        return session

    def _make_room(self, path: str, now_s: float) -> None:
        """Counts out places that nobody came for, and the session's own. Raises HostRefusal (SessionExists, Full)."""
        if path in self._running or path in self._opening:
            raise HostRefusal(HostError.SESSION_EXISTS, f"{path} is running on this host")
        self._places = {other: until_s for other, until_s in self._places.items() if until_s > now_s and other != path}
        if len(self._running) + len(self._opening) + len(self._places) >= self._limit:
            raise HostRefusal(HostError.FULL, f"this host runs {self._limit} sessions, as many as it may")

    def close(self, session: Session, reason: str, message: str = "") -> asyncio.Task[None]:
        """Ends the session; the task is done when nothing of it is left. The first reason given stays."""
        if session.ending is None:
            self._ended[session.path] = SessionState("Ended", reason, message)
            self._ended.move_to_end(session.path)
            if len(self._ended) > ENDS_KEPT:
                self._ended.popitem(last=False)
            metrics.ISOLATE_SESSION_ENDS.labels(reason).inc()
            session.loaded.set()
            session.ending = asyncio.create_task(self._end(session))
        return session.ending

    async def _end(self, session: Session) -> None:
        for request in session.requests:
            request.cancel()
        await session.shard.unload(session.path)
        session.shard.release()
        del self._running[session.path]
        metrics.ISOLATE_SESSIONS.set(len(self._running))

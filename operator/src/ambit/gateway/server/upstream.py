"""Connections to providers: pooled, kept alive, TLS where the route says https, one request at a time each.

The answer is pushed into a sink as it comes; the sink holds it back with `pause` and `resume`. Whether a request was
sent decides whether it is charged, so a request is never sent twice here.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

from ambit.gateway.server.http import Headers
from ambit.telemetry import metrics

CONNECT_S: Final = 5.0
IDLE_S: Final = 4.0
"""A kept connection older than this is not used again: common servers close theirs after 5 s, and a request that meets
the closing is charged, since nobody can tell whether it was read."""

REST_S: Final = 1.0
REST_BYTES: Final = 64 * 1024
"""How long, and how much, is read of an answer that nobody wants any more."""
_NEW: Final = metrics.GATEWAY_UPSTREAM_CONNECTIONS.labels("New")
_REUSED: Final = metrics.GATEWAY_UPSTREAM_CONNECTIONS.labels("Reused")
_FAILED: Final = metrics.GATEWAY_UPSTREAM_CONNECTIONS.labels("Failed")


HEAD_BYTES: Final = 64 * 1024
"""How much an answer may have without a byte of its body: of heads, chunk extensions, trailers."""


class Unreachable(Exception):
    """No connection could be made: nothing was sent."""


class BrokenOff(Exception):
    """The connection ended, or was not HTTP any more, before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a backend listens."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header."""
        default = {"http": 80, "https": 443}[self.scheme]
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == default else f"{host}:{self.port}"

    @staticmethod
    def of(url: str) -> "Origin":
        """The origin of an http or https URL. Raises ValueError for any other."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL")
        return Origin(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


class Sink(Protocol):
    """Who takes an answer. After `on_end` or `on_broken` nothing more is called."""

    def on_head(self, status: int, headers: Headers) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def on_broken(self, error: BrokenOff) -> None: ...


class UpstreamPool:
    """The connections of a process to all its providers."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._idle: dict[Origin, deque[UpstreamConnection]] = {}
        self._tls = tls or ssl.create_default_context()

    async def send(
        self, origin: Origin, request: bytes, sink: Sink, *, unless: Callable[[], bool]
    ) -> "UpstreamConnection | None":
        """Sends one request; the answer goes to `sink`. Raises Unreachable, and then nothing was sent.

        `unless` is asked last thing before the request is written; if it says so, nothing is sent: None.
        """
        connection = self._take(origin)
        if connection is not None:
            _REUSED.inc()
        else:
            try:
                connection = await self._connect(origin)
            except Unreachable:
                _FAILED.inc()
                raise
            _NEW.inc()
        if unless():
            connection.put_by()
            return None
        connection.send(request, sink)
        return connection

    def close(self) -> None:
        """Closes the connections that wait for use."""
        for idle in self._idle.values():
            for connection in tuple(idle):
                connection.abort()
        self._idle.clear()

    def _take(self, origin: Origin) -> "UpstreamConnection | None":
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()  # the youngest: the least likely to be closed under us
            if connection.usable:
                connection.wake()
                return connection
        return None

    async def _connect(self, origin: Origin) -> "UpstreamConnection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(origin, self),
                    origin.host,
                    origin.port,
                    ssl=self._tls if origin.scheme == "https" else None,
                )
        except TimeoutError as error:
            raise Unreachable(f"{origin.authority} did not accept a connection within {CONNECT_S:g} s") from error
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"{origin.authority} could not be reached: {error}") from error
        return connection

    def give_back(self, connection: "UpstreamConnection") -> None:
        self._idle.setdefault(connection.origin, deque()).append(connection)

    def forget(self, connection: "UpstreamConnection") -> None:
        idle = self._idle.get(connection.origin)
        if idle is not None and connection in idle:
            idle.remove(connection)


class UpstreamConnection(asyncio.Protocol):
    """One connection; answers one request at a time."""

    def __init__(self, origin: Origin, pool: UpstreamPool) -> None:
        self.origin = origin
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self.paused = False
        self._begin()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, sink: Sink) -> None:
        """Sends a request on a connection that no answer is under way on."""
        self._begin()
        self._sink = sink
        if self._transport is None:
            self._break("the connection was closed as the request was sent")
            return
        self._transport.write(request)

    def pause(self) -> None:
        """No more of the answer for now."""
        if self._transport is not None and not self.paused and self._sink is not None:
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Closes at once: the provider sees a disconnect; the sink hears nothing more."""
        self._sink = None
        if self._transport is not None:
            self._transport.abort()

    def let_go(self) -> None:
        """Nobody wants the rest of the answer: it is read to its end if that comes soon, so that the connection can be
        used again, and else cut off.
        """
        if self._sink is not None:
            self._sink = _Rest(self)
            self.resume()

    def put_by(self) -> None:
        """Back to the pool, for a while."""
        self._idle_timer = self._loop.call_later(IDLE_S, self.abort)
        self._pool.give_back(self)

    def wake(self) -> None:
        """Out of the pool."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    # -- asyncio.Protocol ------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._sink is None:  # an answer to nothing
            self.abort()
            return
        self._unframed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                raise
            self._break(f"{self.origin.authority} did not answer in well-formed HTTP/1.1: {error}")
            return
        self._check_framing()

    def _check_framing(self) -> None:
        if self._sink is not None and self._unframed_bytes > HEAD_BYTES:
            self._break(f"{self.origin.authority} sent {HEAD_BYTES} bytes and more without one of its answer's body")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.wake()
        self._pool.forget(self)
        if self._sink is None:
            return
        if self._until_close and exc is None:
            self._end()
        else:
            self._break(f"{self.origin.authority} closed the connection before its answer was complete")

    # -- httptools -------------------------------------------------------
    def on_message_begin(self) -> None:
        if self._sink is None:  # more than the answer: whatever it is, it must not meet the next request
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headers_done:  # trailers are dropped
            self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._headers_done = True
        self._keep_alive = self._parser.should_keep_alive()
        names = {name for name, _ in self._headers}
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self._headers):
            self._break(f"{self.origin.authority} answered in a transfer coding that nobody asked for")
            return
        self._until_close = not names & {b"content-length", b"transfer-encoding"} and status not in (204, 304)
        if self._sink is not None:
            self._sink.on_head(status, tuple(self._headers))

    def on_body(self, body: bytes) -> None:
        self._unframed_bytes = 0
        if self._sink is not None:
            self._sink.on_body(body)

    def on_message_complete(self) -> None:
        if not self._headers_done:  # 100 Continue, 103 Early Hints: the answer is still to come
            self._headers.clear()
            return
        self._end()

    # -- ends ------------------------------------------------------------
    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_done = False
        self._keep_alive = False
        self._until_close = False
        self._unframed_bytes = 0

    def _end(self) -> None:
        sink, self._sink = self._sink, None
        self.resume()
        if self._transport is not None:
            if self._transport.get_write_buffer_size():  # answered before it had read the request, which it never may
                self._transport.abort()
            elif self._keep_alive and self.usable:
                self.put_by()
            else:
                self._transport.close()
        if sink is not None:
            sink.on_end()

    def _break(self, why: str) -> None:
        sink, self._sink = self._sink, None
        if self._transport is not None:
            self._transport.abort()
        if sink is not None:
            sink.on_broken(BrokenOff(why))


class _Rest:
    """Takes what is left of an answer that nobody wants."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._left_bytes = REST_BYTES
        self._timer = asyncio.get_running_loop().call_later(REST_S, connection.abort)

    def on_head(self, status: int, headers: Headers) -> None:
        """It has come already."""

    def on_body(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._timer.cancel()
            self._connection.abort()

    def on_end(self) -> None:
        self._timer.cancel()

    def on_broken(self, error: BrokenOff) -> None:
        self._timer.cancel()

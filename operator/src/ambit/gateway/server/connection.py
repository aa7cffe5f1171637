"""One client's connection: requests in, answers out, one at a time, with back-pressure and time limits.

A request is handed to the handler when it is complete. Pipelined requests are not served: the connection is closed
after the answer, which HTTP allows, and which leaves nothing to smuggle.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol, cast

from ambit.gateway.server.http import Headers, Request, Response, response_head
from ambit.gateway.server.limits import BodyMemory, Limits
from ambit.gateway.server.parser import BadRequest, RequestParser

_log = logging.getLogger(__name__)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Handler(Protocol):
    """What a listener does with requests."""

    async def handle(self, request: Request, exchange: "Exchange") -> None:
        """Answers one request; returns when the answer is complete or given up."""
        ...

    def refuse(self, path: str, refusal: BadRequest) -> Response:
        """The answer to a request that could not be read, in the shape that belongs to its path."""
        ...


@dataclass(slots=True)
class ServerState:
    """What all connections of a process share."""

    limits: Limits
    memory: BodyMemory
    connections: "set[ServerConnection]" = field(default_factory=lambda: set[ServerConnection]())
    tasks: set[asyncio.Task[None]] = field(default_factory=lambda: set[asyncio.Task[None]]())
    """Requests being answered, and calls being settled after their answer."""
    draining: bool = False
    """Set when the process is stopping: answers are completed, connections not kept."""

    def close_after_answers(self) -> None:
        """No connection is kept from now on; new ones are still served."""
        self.draining = True
        for connection in self.connections:
            connection.close_after_answer()


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    LINGERING = auto()


class Exchange:
    """The answer to one request, as the handler writes it."""

    def __init__(self, connection: "ServerConnection", http_1_0: bool, head_only: bool) -> None:
        self._connection = connection
        self._http_1_0 = http_1_0
        self._head_only = head_only
        self._chunked = False
        self.started = False
        self.finished = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the client has closed its connection."""
        self._flow: Callable[[bool], None] | None = None

    def on_flow(self, callback: Callable[[bool], None] | None) -> None:
        """`callback(False)` when the client takes no more for now, `callback(True)` when it does again."""
        self._flow = callback
        if callback is not None and self._connection.write_paused:
            callback(False)

    def respond(self, response: Response) -> None:
        """Writes a complete answer."""
        self.start(response.status, response.headers, len(response.body))
        if response.body:
            self.write(response.body)
        self.finish()

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Writes the head. `length` None: chunked, or up to the connection's end for an HTTP/1.0 client."""
        self.started = True
        own: list[tuple[bytes, bytes]] = []
        if length is not None:
            own.append((b"content-length", b"%d" % length))
        elif self._http_1_0:
            self._connection.close_after_answer()
        else:
            self._chunked = True
            own.append((b"transfer-encoding", b"chunked"))
        if self._connection.closes_after_answer:
            own.append((b"connection", b"close"))
        self._connection.write(response_head(status, headers + tuple(own)))

    def write(self, data: bytes) -> None:
        """Writes a piece of the body; nothing happens once the client is gone."""
        if self._head_only or not data:
            return
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self) -> None:
        """Ends the answer normally."""
        if self.finished:
            return
        self.finished = True
        if self._chunked and not self._head_only:
            self._connection.write(_LAST_CHUNK)
        self._connection.answered()

    def abort(self) -> None:
        """Breaks the connection off: the client sees that the answer is not complete."""
        self.finished = True
        self._connection.abort()

    def flow(self, writable: bool) -> None:
        if self._flow is not None:
            self._flow(writable)

    def lose(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


class ServerConnection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    def __init__(self, handler: Handler, state: ServerState) -> None:
        self._handler = handler
        self._state = state
        self._limits = state.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self._limits, state.memory)
        self._phase = _Phase.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._exchange: Exchange | None = None
        self._read_too_much = False
        self.closes_after_answer = False
        self.write_paused = False

    # -- asyncio.Protocol ------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._state.connections.add(self)
        self._enter(_Phase.IDLE, self._limits.idle_s)

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.LINGERING:
            return
        if self._phase is _Phase.ANSWERING:
            self._read_too_much = True
            self.close_after_answer()
            return
        try:
            self._parser.feed(data)
        except BadRequest as refusal:
            self._refuse(refusal)
            return
        self._advance()

    def eof_received(self) -> bool:
        # A client that closes its half while it waits for the answer is treated as gone: no known client does so and
        # still reads, and a half-open connection would hide a client that died.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._cancel_timer()
        self._transport = None
        if self._phase is not _Phase.ANSWERING:
            self._parser.release()
        if self._exchange is not None:
            self._exchange.flow(True)  # whoever waits to write need wait no longer
            self._exchange.lose()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.flow(False)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._exchange is not None:
            self._exchange.flow(True)

    # -- for the exchange ------------------------------------------------
    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close_after_answer(self) -> None:
        self.closes_after_answer = True

    def answered(self) -> None:
        """The answer is complete: on to the next request, or to the end."""
        if self._transport is None:
            return
        if self._read_too_much:
            self._linger()
        elif self.closes_after_answer or self._state.draining:
            self._close()
        else:
            self._parser = RequestParser(self._limits, self._state.memory)
            self._enter(_Phase.IDLE, self._limits.idle_s)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """The process is stopping: idle connections end now, the others after their answer."""
        if self._phase is _Phase.ANSWERING:
            self.close_after_answer()
        else:
            self._close()

    # -- phases ----------------------------------------------------------
    def _advance(self) -> None:
        parser = self._parser
        if parser.request is not None:
            self._answer(parser.request)
        elif parser.head_complete and self._phase is not _Phase.BODY:
            if parser.expects_continue:
                self.write(_CONTINUE)
            self._enter(_Phase.BODY, self._limits.body_s)
        elif parser.started and self._phase is _Phase.IDLE:
            self._enter(_Phase.HEAD, self._limits.head_s)

    def _answer(self, request: Request) -> None:
        self._enter(_Phase.ANSWERING, None)
        self._read_too_much = self._parser.pipelined
        if not self._parser.keep_alive or self._read_too_much or request.method == "CONNECT" or self._state.draining:
            self.close_after_answer()
        self._exchange = Exchange(self, self._parser.http_1_0, request.method == "HEAD")
        task = self._loop.create_task(self._run(request, self._exchange, self._parser))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _run(self, request: Request, exchange: Exchange, parser: RequestParser) -> None:
        try:
            await self._handler.handle(request, exchange)
        except Exception:  # noqa: BLE001 -- the edge of the process: logged whole, and the client sees a broken answer
            _log.exception("answering %s %s failed", request.method, request.path)
            exchange.abort()
        finally:
            parser.release()
            if not exchange.finished:
                exchange.abort()

    def _refuse(self, refusal: BadRequest) -> None:
        response = self._handler.refuse(self._parser.path, refusal)
        self._parser.release()
        head = response_head(
            response.status,
            (*response.headers, (b"content-length", b"%d" % len(response.body)), (b"connection", b"close")),
        )
        self.write(head + response.body)
        self._linger()

    def _linger(self) -> None:
        if self._transport is None:
            return
        with suppress(NotImplementedError, OSError):
            self._transport.write_eof()
        self._enter(_Phase.LINGERING, self._limits.linger_s)

    def _close(self) -> None:
        self._cancel_timer()
        if self._transport is not None:
            self._transport.close()

    def _enter(self, phase: _Phase, limit_s: float | None) -> None:
        self._phase = phase
        self._cancel_timer()
        if limit_s is not None:
            self._timer = self._loop.call_later(limit_s, self._too_late)

    def _too_late(self) -> None:
        # Nothing is answered: a client so slow, or idle, expects nothing, and a 408 would race with its next request.
        self._close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Carries one answer from the provider to the client: metered, held back by the slower side, and cut when told so."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from ambit.gateway.models.wire_format import Meter, TokenUsage, believed
from ambit.gateway.server.connection import Exchange
from ambit.gateway.server.http import HOP_BY_HOP, Headers, named_in_connection
from ambit.gateway.server.parser import body_length
from ambit.gateway.server.upstream import BrokenOff, UpstreamConnection
from ambit.telemetry import metrics, tracing
from ambit.telemetry.tracing import SpanEvent

NOT_PASSED_ON: Final = HOP_BY_HOP | {
    b"content-length",
    b"set-cookie",  # the provider's session with the gateway, which agents would share
    b"alt-svc",  # another way to the provider, which agents do not have
}
PROVIDER_REFUSED_KEY: Final = 401


class Ending(StrEnum):
    """How a relayed call ended."""

    COMPLETED = "Completed"
    BROKEN_OFF = "BrokenOff"
    """The provider broke off."""
    SILENT = "Silent"
    """The provider said nothing for too long."""
    CLIENT_GONE = "ClientGone"
    CUT = "Cut"
    WITHHELD = "Withheld"
    """The provider has failed the call, the client was told nothing, and another backend is tried."""


class CutCause(StrEnum):
    """Who said stop."""

    SESSION_ENDED = "SessionEnded"
    HOLD_LOST = "HoldLost"
    HOLD_USED_UP = "HoldUsedUp"
    """Its output has come to the end of what is held, and no more was granted in time."""
    STOPPING = "Stopping"


@dataclass(frozen=True, slots=True)
class Relayed:
    """What became of a call once it was sent."""

    ending: Ending
    status: int | None
    """The provider's status; None: it had not answered."""
    usage: TokenUsage | None
    answered: bool
    """Whether the client has been given a head; if not, it is still to be answered."""
    message: str = ""
    output_bound: int | None = None
    """At most so many output tokens stand behind what has come; None: it cannot be told."""
    first_chunk_s: float | None = None
    """How long after it was sent the first piece of the answer's body came; None: none came."""
    took_s: float = 0.0
    """From when it was sent until nothing more came."""


class Growth(Protocol):
    """Whoever holds more as the answer grows, and may cut it from within each of these."""

    def shown(self, output_bound: int) -> None:
        """At most so many output tokens stand behind what has come."""
        ...

    def blind(self) -> None:
        """What the provider writes cannot be seen for now."""
        ...

    def no_more(self) -> None:
        """The client is gone."""
        ...


class Relay:
    """The sink of one upstream answer. `done` is resolved once, with what became of it."""

    def __init__(
        self,
        exchange: Exchange,
        meter: Callable[[bool], Meter],
        opaque_meter: Callable[[], Meter],
        own_headers: Callable[[], Headers],
        *,
        withhold: Callable[[int, Headers], bool],
        first_byte_s: float,
        silence_s: float,
        drain_s: float,
    ) -> None:
        self._exchange = exchange
        self._meter_of = meter
        self._opaque_meter = opaque_meter
        self._own_headers = own_headers
        self._withhold = withhold
        self._first_byte_s = min(first_byte_s, silence_s)
        self._silence_s = silence_s
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()
        self._meter: Meter | None = None
        self._connection: UpstreamConnection | None = None
        self._growth: Growth | None = None
        self._status: int | None = None
        self._event_stream = False
        self._open_ended = False
        self._withheld = False
        self._client_gone = False
        self._began_at = self._heard_at = self._loop.time()
        self._first_chunk_at: float | None = None
        self._span = tracing.current()
        self._timer: asyncio.TimerHandle | None = None
        self.cut_cause: CutCause | None = None
        self.done: asyncio.Future[Relayed] = self._loop.create_future()

    def attach(self, connection: UpstreamConnection) -> None:
        """The request was sent on this connection; its answer may be complete already."""
        self._connection = connection
        if self.done.done():
            return
        self._span = tracing.current()
        self._began_at = self._heard_at = self._loop.time()
        self._await_word(self._first_byte_s)
        self._exchange.on_flow(self._flow)
        self._exchange.gone.add_done_callback(self._on_client_gone)

    def follow(self, growth: Growth) -> None:
        """From now on `growth` is told how much of the answer there is."""
        self._growth = growth
        self._tell_growth()

    # -- the provider ----------------------------------------------------
    def on_head(self, status: int, headers: Headers) -> None:
        self._heard_at = self._loop.time()
        self._span.note(SpanEvent.FIRST_BYTE)
        self._status = status
        if self._withhold(status, headers) and not self._client_gone:
            if self._connection is not None:
                self._connection.let_go()
            self._resolve(Ending.WITHHELD)
            return
        self._withheld = status == PROVIDER_REFUSED_KEY
        self._event_stream = _media_type(headers) == b"text/event-stream" and _is_plain(headers)
        self._meter = self._meter_of(self._event_stream) if _is_plain(headers) else self._opaque_meter()
        if self._withheld or self._client_gone:
            return
        drop = NOT_PASSED_ON | named_in_connection(headers)
        passed = tuple(
            (name, value) for name, value in headers if name not in drop and not name.startswith(b"x-ambit-")
        )
        passed += self._own_headers()
        length = None if self._event_stream else body_length(headers)
        self._open_ended = length is None
        self._exchange.start(status, passed, length)

    def on_body(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self._first_chunk_at is None:
            self._first_chunk_at = self._heard_at
        if self._meter is not None:
            self._pass_on(self._meter.feed(data))
            self._tell_growth()

    def on_end(self) -> None:
        if self._meter is not None:
            self._pass_on(self._meter.end())
        if not self._withheld and not self._client_gone:
            self._exchange.finish()
        self._resolve(Ending.CLIENT_GONE if self._client_gone else Ending.COMPLETED)

    def on_broken(self, error: BrokenOff) -> None:
        if self._exchange.started and not self._client_gone:
            self._exchange.abort()
        self._resolve(Ending.CLIENT_GONE if self._client_gone else Ending.BROKEN_OFF, str(error))

    # -- from outside ----------------------------------------------------
    def cut(self, cause: CutCause) -> None:
        """Stops the call now: the provider is disconnected, and the client's stream ends in its format's own words."""
        if self.done.done():
            return
        self.cut_cause = cause
        metrics.GATEWAY_STREAMS_CUT.labels(cause.value).inc()
        self._disconnect()
        if self._exchange.started and not self._client_gone:
            ending = self._meter.cut() if self._open_ended and self._meter is not None else None
            if ending is None:
                self._exchange.abort()
            else:
                self._exchange.write(ending)
                self._exchange.finish()
        self._resolve(Ending.CUT)

    # -- the client ------------------------------------------------------
    def _flow(self, writable: bool) -> None:
        if self._connection is None:
            return
        if writable or self._client_gone:
            self._heard_at = self._loop.time()  # it was we who did not listen
            self._connection.resume()
            self._tell_growth()
        else:
            self._connection.pause()
            self._tell_growth()

    def _on_client_gone(self, _: object) -> None:
        if self.done.done():
            return
        self._client_gone = True
        self._flow(True)
        if self._growth is not None:
            self._growth.no_more()
        if self.done.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._drain_s, self._drained)

    def _drained(self) -> None:
        if not self.done.done():
            self._disconnect()
            self._resolve(Ending.CLIENT_GONE)

    def _tell_growth(self) -> None:
        """Says how much there is of an answer that may still go on."""
        if self._growth is None or self._meter is None or self._meter.usage is not None:
            return
        if self._status is None or self._status >= 400:
            return  # an error, and none of the model's output
        bound = self._meter.output_bound
        if bound is None or (self._connection is not None and self._connection.paused):
            self._growth.blind()
        else:
            self._growth.shown(bound)

    # -- ends ------------------------------------------------------------
    def _pass_on(self, data: bytes) -> None:
        if data and not self._withheld and not self._client_gone:
            self._exchange.write(data)

    def _check_silence(self) -> None:
        if self.done.done() or self._client_gone:
            return
        may_be_silent_s = self._first_byte_s if self._status is None else self._silence_s
        left_s = self._heard_at + may_be_silent_s - self._loop.time()
        if left_s > 0:
            self._await_word(left_s)
            return
        if self._connection is not None and self._connection.paused:
            self._await_word(1.0)
            return
        self._disconnect()
        if self._exchange.started:
            self._exchange.abort()
        self._resolve(Ending.SILENT, f"the model's server said nothing for {may_be_silent_s:g} s")

    def _await_word(self, in_s: float) -> None:
        self._timer = self._loop.call_later(in_s, self._check_silence)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def _resolve(self, ending: Ending, message: str = "") -> None:
        if self.done.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.on_flow(None)
        usage = believed(self._meter.usage) if self._meter is not None else None
        answered = self._exchange.started or self._client_gone
        first_chunk_s = None if self._first_chunk_at is None else self._first_chunk_at - self._began_at
        took_s = self._heard_at - self._began_at
        bound = self._meter.output_bound if self._meter is not None else None
        self.done.set_result(Relayed(ending, self._status, usage, answered, message, bound, first_chunk_s, took_s))


def _media_type(headers: Headers) -> bytes:
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def _is_plain(headers: Headers) -> bool:
    """Whether the body can be read as it is; `identity` was asked for, but a server may do otherwise."""
    return all(value.lower() == b"identity" for name, value in headers if name == b"content-encoding")

"""What a session says to its caller, as values."""

import codecs
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from ambit.client.errors import ClientError


@dataclass(frozen=True)
class Usage:
    """What a session has used."""

    usd: str
    """US dollars."""
    tokens: int
    model_calls: int
    runtime: str
    """A duration, e.g. `1m30s`."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            usd=str(data["usd"]),
            tokens=int(data["tokens"]),
            model_calls=int(data["modelCalls"]),
            runtime=str(data["runtime"]),
        )


@dataclass(frozen=True)
class Opened:
    """The session has an account, and its environment is being started."""

    id: str
    namespace: str
    agent: str
    environment: str
    """`isolate` or `container`."""
    expires_in_ms: int
    """Its runtime bound."""


@dataclass(frozen=True)
class Output:
    """Some of the agent's output."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The session is over."""

    reason: str
    """One CamelCase word: `Completed`, `Failed`, `Killed`, `RuntimeExhausted`, …"""
    message: str
    exit_code: int | None
    """A container's."""
    status: int | None
    """The HTTP status of an isolate's answer."""
    start_ms: int | None
    """From the request until its container ran, or until its isolate first answered; None: neither did."""
    usage: Usage | None
    """None where the ledger could not be asked."""

    @property
    def ok(self) -> bool:
        """Whether the agent did what it was asked, as far as can be told from outside."""
        return self.reason == "Completed" and (self.status is None or self.status < 400)


SessionEvent = Opened | Output | Ended


@dataclass(frozen=True)
class SessionView:
    """A session as the gateway lists it."""

    id: str
    namespace: str
    agent: str
    """Empty for a Sandbox of its own."""
    environment: str
    state: str
    """`Open` or `Ended`."""
    reason: str
    """Why it ended; empty while it is open."""
    age_ms: int
    usage: Usage

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            id=str(data["id"]),
            namespace=str(data["namespace"]),
            agent=str(data["agent"]),
            environment=str(data["environment"]),
            state=str(data["state"]),
            reason=str(data.get("reason", "")),
            age_ms=int(data["ageMs"]),
            usage=Usage.of(data["usage"]),
        )


class SessionStream:
    """A running session: iterate over its events. It is killed when the stream is closed before its end."""

    def __init__(self, answer: aiohttp.ClientResponse, opened: Opened, lines: AsyncIterator[str]) -> None:
        self._answer = answer
        self._lines = lines
        self.opened = opened

    @classmethod
    async def begin(cls, answer: aiohttp.ClientResponse) -> Self:
        """Reads the first event. Raises ClientError."""
        lines = _lines(answer)
        first = await _next_event(lines)
        if not isinstance(first, Opened):
            raise ClientError("the gateway's answer did not begin with `opened`: is it of another version?")
        return cls(answer, first, lines)

    async def __aiter__(self) -> AsyncIterator[Output | Ended]:
        """Output as it comes; `Ended` is the last. Raises ClientError where the stream breaks off."""
        while True:
            event = await _next_event(self._lines)
            if isinstance(event, Opened):
                continue
            yield event
            if isinstance(event, Ended):
                return


async def _next_event(lines: AsyncIterator[str]) -> SessionEvent:
    """The next event that this version knows; others, and comments, are passed over."""
    name = ""
    try:
        async for line in lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data" and name in _READ:
                return _READ[name](json.loads(value))
    except aiohttp.ClientError as error:
        raise ClientError(f"the connection to the gateway broke off ({error}), which ends the session") from error
    raise ClientError("the gateway's stream ended without saying how the session did; see `ambit sessions`")


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Lines of any length."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    pending = ""
    async for chunk in answer.content.iter_any():
        *whole, pending = (pending + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield line


def _opened(data: dict[str, Any]) -> Opened:
    return Opened(
        id=data["id"],
        namespace=data["namespace"],
        agent=data["agent"],
        environment=data["environment"],
        expires_in_ms=data["expiresInMs"],
    )


def _output(data: dict[str, Any]) -> Output:
    return Output(data["data"])


def _ended(data: dict[str, Any]) -> Ended:
    return Ended(
        reason=data["reason"],
        message=data.get("message", ""),
        exit_code=data.get("exitCode"),
        status=data.get("status"),
        start_ms=data.get("startMs"),
        usage=Usage.of(data["usage"]) if "usage" in data else None,
    )


_READ = {"opened": _opened, "output": _output, "ended": _ended}

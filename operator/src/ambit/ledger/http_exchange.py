"""The ledger over HTTP: one kept connection for operations, one for events; whichever version it answers."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final, Self, TypeVar

import aiohttp
import msgspec

from ambit.ledger import version_1, wire
from ambit.ledger.partitions.table import PARTITION_HEADER, Keys, Routes, Table
from ambit.ledger.subscription import Heard, subscribe
from ambit.ledger.transport import ATTEMPT_S, MISDIRECTED, AttemptFailed, Misdirected
from ambit.telemetry import tracing

VERSION_HEADER: Final = "x-ambit-ledger-version"
VERSION: Final = 2
"""The newest version of the wire that this client speaks; the oldest is the one before."""


_TIMEOUT: Final = aiohttp.ClientTimeout(total=ATTEMPT_S)
_table = msgspec.json.Decoder(Table)
_routes = msgspec.json.Decoder(Routes)
R = TypeVar("R")


class HttpLedger:
    """Where the ledger is. `exchange` is the Exchange of a client; used as an async context manager."""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._http: aiohttp.ClientSession | None = None
        self.version = VERSION
        """What the ledger spoke when it last answered, at most our own."""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def exchange(self, body: bytes) -> bytes:
        """One attempt. Raises AttemptFailed.

        A ledger of version 1 ignores the header that says 2, does what it can read, and refuses the rest as `Invalid`.
        Asking it again in its own words is what every repetition is: each operation is done once.
        """
        if self.version == VERSION:
            answer = await self._post(body)
            if self.version == VERSION:
                return answer
        older = version_1.translate(body)
        return older.answer(await self._post(older.body))

    async def exchange_with(self, url: str, partition: int, body: bytes) -> bytes:
        """One attempt at a batch for one partition, at its writer. Raises AttemptFailed, Misdirected."""
        headers = {VERSION_HEADER: str(VERSION), PARTITION_HEADER: str(partition), **tracing.carried()}
        return await self._asked("POST", f"{url}/v1/ops", body, headers)

    async def table(self, url: str | None = None) -> Table:
        """The table of writers, as the ledger at `url` has it. Raises AttemptFailed."""
        return _read(_table, await self._asked("GET", f"{url or self._url}/v1/partitions"))

    async def routes(self, keys: Keys, url: str | None = None) -> Routes:
        """Where accounts and holds are. Raises AttemptFailed."""
        return _read(_routes, await self._asked("POST", f"{url or self._url}/v1/routes", msgspec.json.encode(keys)))

    def events_of(
        self, url: str, silence_ms: int | None, heard: Heard, commented: Callable[[bytes], None]
    ) -> AsyncGenerator[wire.AnyEvent]:
        """The events of one ledger among several, and what it says in comments."""
        return subscribe(self._session, url, self._token, silence_ms, heard, commented)

    def events(self, silence_ms: int | None, heard: Heard) -> AsyncGenerator[wire.AnyEvent]:
        """See LedgerClient.events."""
        return subscribe(self._session, self._url, self._token, silence_ms, heard)

    async def _post(self, body: bytes) -> bytes:
        try:
            headers = {
                "Authorization": f"Bearer {self._token()}",
                "Content-Type": "application/json",
                VERSION_HEADER: str(self.version),
                **tracing.carried(),
            }
            async with self._session.post(f"{self._url}/v1/ops", data=body, headers=headers) as response:
                answer = await response.read()
                if response.status == MISDIRECTED:
                    raise Misdirected(_read(_table, answer))
                if response.status != 200:
                    response.close()  # it may be one that only stands by: the next attempt dials anew
                    raise AttemptFailed(f"HTTP {response.status}: {answer[:500].decode(errors='replace').strip()}")
                self.version = min(VERSION, _version(response.headers.get(VERSION_HEADER)))
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AttemptFailed(f"{type(error).__name__}: {error}") from error

    async def _asked(self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        said = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json", **(headers or {})}
        try:
            async with self._session.request(method, url, data=body, headers=said, timeout=_TIMEOUT) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AttemptFailed(f"{url}: {type(error).__name__}: {error}") from error
        if response.status == MISDIRECTED:
            raise Misdirected(_read(_table, answer))
        if response.status != 200:
            raise AttemptFailed(f"{url}: HTTP {response.status}: {answer[:500].decode(errors='replace').strip()}")
        return answer

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("use the ledger's client as an async context manager")
        return self._http


def _read(decoder: msgspec.json.Decoder[R], answer: bytes) -> R:
    try:
        return decoder.decode(answer)
    except msgspec.MsgspecError as error:
        raise AttemptFailed(f"an answer that cannot be read: {error}") from error


def _version(said: str | None) -> int:
    if said is None:
        return 1
    if not said.isdecimal() or int(said) < 1:
        raise AttemptFailed(f"the ledger says that it speaks version {said!r}")
    return int(said)

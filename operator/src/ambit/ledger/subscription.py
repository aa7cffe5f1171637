"""The client's side of `GET /v1/events`: reconnects, and says when something may have been missed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Final

import aiohttp
import msgspec

from ambit.ledger import wire
from ambit.ledger.partitions.table import EVENTS_OF_ONE, Table
from ambit.ledger.transport import MISDIRECTED, Misdirected

SILENCE_S: Final = 15.0
"""After so long without a byte the connection is taken for dead: unless asked otherwise, the ledger speaks every five
seconds."""
PAUSE_S: Final = 0.25
log = logging.getLogger(__name__)
_event = msgspec.json.Decoder(wire.AnyEvent)
_table = msgspec.json.Decoder(Table)
Heard = Callable[[], None]
Commented = Callable[[bytes], None]


async def subscribe(
    http: aiohttp.ClientSession,
    url: str,
    token: Callable[[], str],
    silence_ms: int | None,
    heard: Heard,
    commented: Commented | None = None,
) -> AsyncGenerator[wire.AnyEvent]:
    """Events as they come, for ever. The first is `Resynchronised`, as is the first after anything was missed.

    `heard` is called at each word of the ledger, once the events before it have been taken; it says something at least
    every `silence_ms`. `commented` is given its comments, of one ledger among several; without it, Misdirected is
    raised where there are several.
    """
    last_id: str | None = None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE_S)
    query = {} if silence_ms is None else {"silenceMs": str(silence_ms)}
    if commented is not None:
        query[EVENTS_OF_ONE] = "true"
    while True:
        try:
            headers = {"Authorization": f"Bearer {token()}", "Accept": "text/event-stream"}
            if last_id is not None:
                headers["Last-Event-ID"] = last_id
            async with http.get(f"{url}/v1/events", params=query, headers=headers, timeout=timeout) as response:
                if response.status == MISDIRECTED:
                    raise Misdirected(_table.decode(await response.read()))
                response.raise_for_status()
                pending_id: str | None = None
                async for raw in response.content:
                    line = raw.rstrip(b"\n")
                    if line.startswith(b"id: "):
                        pending_id = line[4:].decode(errors="replace")
                    elif line.startswith(b"data: "):
                        last_id = pending_id  # taken up only with its event: a torn frame is asked for again
                        yield _decode(line[6:])
                        heard()
                    elif line.startswith(b":"):
                        if commented is not None:
                            commented(line)
                        heard()
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            log.warning(
                "the ledger's events broke off", extra={"fields": {"cause": f"{type(error).__name__}: {error}"}}
            )
        await asyncio.sleep(PAUSE_S)


def _decode(data: bytes) -> wire.AnyEvent:
    try:
        return _event.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # A newer ledger says something that we cannot read: looking at everything again covers whatever it is.
        log.warning("an event that cannot be read", extra={"fields": {"cause": str(error)}})
        return wire.Resynchronised()

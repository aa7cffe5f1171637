"""The events of a ledger of several writers as one stream."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from ambit.ledger import wire
from ambit.ledger.http_exchange import HttpLedger
from ambit.ledger.partitions.table import COVERS
from ambit.ledger.routing.directory import Directory
from ambit.ledger.routing.lanes import Lanes
from ambit.ledger.subscription import Heard
from ambit.ledger.transport import AttemptFailed, Misdirected

SILENCE_MS = 5_000
"""The ledger's own, where a listener asks for none."""
LOOK_S = 0.5
"""How often the client looks which ledgers there are."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Word:
    """A ledger was heard at `at_s`: it speaks for these partitions, and everything before it was told."""

    covers: frozenset[int]
    at_s: float


class Hearing:
    """When each partition's writer was heard last. Pure."""

    def __init__(self, partitions: int, silence_s: float) -> None:
        self._heard_s = [float("-inf")] * partitions
        self._silence_s = silence_s

    def take(self, word: Word) -> bool:
        """Whether by this word all partitions were heard lately enough to count as heard together.

        Each was within one silence: who allows for a silence after the word allows for one more with several writers.
        """
        for partition in word.covers:
            self._heard_s[partition] = max(self._heard_s[partition], word.at_s)
        return bool(word.covers) and min(self._heard_s) >= word.at_s - self._silence_s


async def events_of_all(
    http: HttpLedger, lanes: Lanes, silence_ms: int | None, heard: Heard
) -> AsyncGenerator[wire.AnyEvent]:
    """See LedgerClient.events: of one writer, or of several once the ledger turns out to have them."""
    if lanes.directory is None:
        try:
            async with aclosing(http.events(silence_ms, heard)) as events:
                async for event in events:
                    yield event
        except Misdirected as misdirected:
            lanes.spread(misdirected.table)
    if lanes.directory is not None:
        async with aclosing(_merged(http, lanes.directory, silence_ms, heard)) as events:
            async for event in events:
                yield event


async def _merged(
    http: HttpLedger, directory: Directory, silence_ms: int | None, heard: Heard
) -> AsyncGenerator[wire.AnyEvent]:
    said: asyncio.Queue[wire.AnyEvent | Word] = asyncio.Queue()
    hearing = Hearing(directory.partitions, (silence_ms or SILENCE_MS) / 1000)
    listening = asyncio.create_task(_listen(http, directory, silence_ms, said), name="ledger events")
    listening.add_done_callback(lambda _: said.put_nowait(wire.Resynchronised()))  # wakes whoever waits, if it failed
    try:
        while True:
            word = await said.get()
            if listening.done():
                await listening
            if not isinstance(word, Word):
                yield word
            elif hearing.take(word):
                heard()
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def _listen(
    http: HttpLedger, directory: Directory, silence_ms: int | None, said: asyncio.Queue[wire.AnyEvent | Word]
) -> None:
    """Listens to every ledger that there is."""
    streams: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            with suppress(AttemptFailed):  # who is known goes on being listened to
                await directory.refresh()
            members = directory.table.members
            for url in members:
                if url not in streams:
                    streams[url] = asyncio.create_task(_pump(http, url, silence_ms, said), name=f"ledger events: {url}")
            for url in [url for url, task in streams.items() if url not in members or task.done()]:
                stream = streams.pop(url)
                if stream.done():
                    await stream
                stream.cancel()
                said.put_nowait(wire.Resynchronised())  # the last that it told may have been lost on the way
            await asyncio.sleep(LOOK_S)
    finally:
        for stream in streams.values():
            stream.cancel()


async def _pump(http: HttpLedger, url: str, silence_ms: int | None, said: asyncio.Queue[wire.AnyEvent | Word]) -> None:
    loop = asyncio.get_running_loop()

    def commented(line: bytes) -> None:
        if line.startswith(COVERS):
            numbers = line.removeprefix(COVERS).decode().split(",")
            said.put_nowait(Word(frozenset(int(number) for number in numbers if number), loop.time()))

    async with aclosing(http.events_of(url, silence_ms, lambda: None, commented)) as events:
        async for event in events:
            said.put_nowait(event)

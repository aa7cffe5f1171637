"""What a shard writes to its standard streams, brought into our log.

It is agents' console output too: hostile, and without end if an agent wants. So lines are cut, only so many a second
are kept, and the rest is read and dropped (a full pipe would hang the shard).
"""

import asyncio
import logging

log = logging.getLogger(__name__)

MAX_LINE_CHARACTERS = 2_000
LINES_PER_SECOND = 50
READ_BYTES = 64 << 10
# abortIsolate() is how we unload an agent; workerd reports each as an error with a stack of addresses.
EXPECTED = ("failed: script terminated for unknown reasons", "stack: ")


async def relay(stream: asyncio.StreamReader, shard: int) -> None:
    """Logs the lines of `stream` until it ends."""
    loop = asyncio.get_running_loop()
    second, kept, dropped = 0, 0, 0
    rest = b""
    while chunk := await stream.read(READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-READ_BYTES:]
        for raw in lines:
            if int(loop.time()) != second:
                if dropped:
                    log.warning("lines of a shard dropped", extra={"fields": {"shard": shard, "lines": dropped}})
                second, kept, dropped = int(loop.time()), 0, 0
            if any(words.encode() in raw for words in EXPECTED):
                continue
            if kept == LINES_PER_SECOND:
                dropped += 1
                continue
            kept += 1
            line = raw.decode(errors="replace")[:MAX_LINE_CHARACTERS]
            log.info("a shard says", extra={"fields": {"shard": shard, "line": line}})

"""What is told to whom as it happens, and that a ledger which may be the writer no more tells nothing."""

import asyncio

import pytest

from ambit.ledger import changes
from ambit.ledger.events import Events

NEVER_S = 60.0


class Place:
    """Whether this is the writer, as a test says."""

    def __init__(self) -> None:
        self.taken = True

    def __call__(self) -> bool:
        return self.taken


async def test_who_may_no_longer_be_the_writer_tells_of_no_limit() -> None:
    place = Place()
    events = Events(1, place)
    listening = events.listen(None, NEVER_S)
    assert b"Resynchronised" in await anext(listening)
    place.taken = False
    events.publish([changes.AccountGone(1, "agent/n/a")])
    with pytest.raises(StopAsyncIteration):
        await anext(listening)


async def test_nor_does_it_say_that_nothing_happened() -> None:
    place = Place()
    listening = Events(1, place).listen(None, 0.001)
    assert b"Resynchronised" in await anext(listening)
    assert await anext(listening) == b": still here\n\n"
    place.taken = False
    with pytest.raises(StopAsyncIteration):
        await anext(listening)


async def test_who_comes_again_is_told_what_was_missed_once_it_is_the_writer_after_all() -> None:
    place = Place()
    events = Events(1, place)
    listening = events.listen(None, NEVER_S)
    await anext(listening)
    place.taken = False
    events.publish([changes.AccountGone(1, "agent/n/a")])
    assert await asyncio.wait_for(anext(listening, None), NEVER_S) is None
    place.taken = True
    assert b"agent/n/a" in await anext(events.listen("1-0", NEVER_S))

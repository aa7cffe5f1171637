"""The host ends a session itself when the runtime it was told of is over, whatever becomes of the gateway."""

import asyncio
import time
from itertools import count

import pytest
from aiohttp import ClientPayloadError

from tests.isolates.host import Host, until
from tests.isolates.test_bounds import STREAM_FOR_EVER, WAIT_FOR_GATEWAY
from tests.isolates.test_sessions import held_until
from tests.latency import within_ms

GRACE_S = 2.0
HANGS_S = 60.0
FLOOD = """
export default {
  fetch() { return new Response(new ReadableStream({ pull(queue) { queue.enqueue(new Uint8Array(65536)); } })); },
};
"""


async def test_a_session_that_nobody_renews_is_ended(host: Host) -> None:
    sha256, numbers = await host.put_code(STREAM_FOR_EVER), count()

    async def attempt() -> float:
        session, asked = f"team-a/s-{next(numbers)}", time.monotonic()
        async with host.stream(session, sha256, runtime_ms=500) as answer:
            assert await answer.content.readany() == b"first"
            with pytest.raises(ClientPayloadError):
                await asyncio.wait_for(answer.read(), HANGS_S)
            took_s = time.monotonic() - asked
        assert took_s >= 0.5
        await host.nothing_left()
        assert (await host.state(session))["reason"] == "RuntimeExhausted"
        return took_s * 1000

    await within_ms((0.5 + GRACE_S + 1) * 1000, attempt)


async def test_one_that_has_not_answered_yet_is_told_why(host: Host) -> None:
    host.gateway.answer = held_until(asyncio.Event())
    async with host.stream("team-a/s-1", await host.put_code(WAIT_FOR_GATEWAY), runtime_ms=1) as answer:
        assert (answer.status, answer.headers["x-ambit-host-error"]) == (502, "RuntimeExhausted")
    await asyncio.wait_for(host.gateway.broken_off.wait(), HANGS_S)
    await host.nothing_left()


async def test_a_connection_that_takes_nothing_any_more_does_not_keep_an_agent_running(host: Host) -> None:
    """As of a gateway whose node is lost: no end of the connection, and nobody who reads."""
    async with host.stream("team-a/s-1", await host.put_code(FLOOD), runtime_ms=1) as answer:
        assert answer.connection is not None
        assert answer.connection.transport is not None
        answer.connection.transport.pause_reading()
        assert await host.sessions() == ["team-a/s-1"]
        await until(lambda: _ended(host, "team-a/s-1"), HANGS_S)
        assert (await host.state("team-a/s-1"))["reason"] == "RuntimeExhausted"


async def test_runtime_that_is_renewed_is_counted_from_the_opening_and_never_shortened(host: Host) -> None:
    sha256, asked = await host.put_code(STREAM_FOR_EVER), time.monotonic()
    async with host.stream("team-a/s-1", sha256, runtime_ms=500) as answer:
        assert await answer.content.readany() == b"first"
        assert await host.renew("team-a/s-1", 2_500) == 204
        assert await host.renew("team-a/s-1", 1_000) == 204
        with pytest.raises(ClientPayloadError):
            await asyncio.wait_for(answer.read(), HANGS_S)
        assert time.monotonic() - asked >= 2.5 + GRACE_S
    await host.nothing_left()
    assert await host.renew("team-a/s-1", 60_000) == 404


@pytest.mark.parametrize("runtime", ["", "0", "-5", "1.5", "for ever"])
async def test_nothing_is_run_without_a_runtime(host: Host, runtime: str) -> None:
    sha256 = await host.put_code(STREAM_FOR_EVER)
    headers = {"x-ambit-code-sha256": sha256, "x-ambit-runtime-ms": runtime}
    async with host.request("POST", "/v1/sessions/team-a/s-1", headers=headers, data=b"") as answer:
        assert answer.status == 400
    assert await host.sessions() == []


async def _ended(host: Host, session: str) -> bool:
    return (await host.state(session)).get("state") == "Ended" and await host.sessions() == []

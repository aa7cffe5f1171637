"""A stream on which nothing comes any more is given up: its gateway would have said that it lives."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from ambit.client import ClientError, gateway
from ambit.client.gateway import GatewayClient
from ambit.gateway.sessions.endpoints import HEARTBEAT_S

OPENED = b"""event: opened
data: {"id": "x", "namespace": "team", "agent": "a", "environment": "isolate", "expiresInMs": 60000}

"""


@asynccontextmanager
async def a_gateway_that_falls_silent_after(said: bytes) -> AsyncGenerator[str]:
    """Its address."""

    async def open_session(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if said:
            await response.prepare(request)
            await response.write(said)
        await asyncio.Event().wait()  # until the caller goes
        return response

    app = web.Application()
    app.router.add_post("/v1/namespaces/team/agents/a/sessions", open_session)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def to_its_end(client: GatewayClient) -> None:
    async with client.run("team", "a") as stream:
        async for event in stream:
            raise AssertionError(event)


@pytest.mark.parametrize("said", [b"", OPENED])
async def test_it_is_given_up(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(gateway, "SILENCE_S", 0.5)
    async with a_gateway_that_falls_silent_after(said) as url, aiohttp.ClientSession() as session:
        with pytest.raises(ClientError):
            await to_its_end(GatewayClient(session, url))


def test_a_gateway_has_time_enough_to_say_that_it_lives() -> None:
    assert 3 * HEARTBEAT_S < gateway.SILENCE_S

"""What the gateway takes for an isolate host's confirmation."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ambit.gateway.sessions.code import bundle
from ambit.gateway.sessions.hosts import HostClient, HostFailed, Signer
from ambit.gateway.sessions.placing import Host
from ambit.telemetry import tracing
from ambit.telemetry.tracing import SpanName
from tests.telemetry.in_memory import in_memory


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[HostClient]:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    async with HostClient(Signer(pem)) as made:
        yield made


@asynccontextmanager
async def a_host(status: int, traces: list[str | None] | None = None) -> AsyncGenerator[Host]:
    """One that answers every request so, and writes down the trace that each is part of."""

    async def answer(request: web.Request) -> web.Response:
        if traces is not None:
            traces.append(request.headers.get("traceparent"))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Host("team-a", "pool", "host-0", "uid", "127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 401, 404, 500])
async def test_an_end_is_confirmed_by_204_and_by_nothing_else(client: HostClient, status: int) -> None:
    async with a_host(status) as host:
        with pytest.raises(HostFailed, match=f"answered {status}"):
            await client.end(host, "team-a", "s-1")


async def test_what_was_told_and_confirmed_is_done(client: HostClient) -> None:
    async with a_host(204) as host:
        await client.end(host, "team-a", "s-1")
        await client.renew(host, "team-a", "s-1", 30_000)
        await client.take_place(host, "team-a", "s-1")


async def test_a_host_is_told_what_trace_its_session_is_part_of(client: HostClient) -> None:
    traces: list[str | None] = []
    with in_memory() as memory:
        async with a_host(200, traces) as host:
            with tracing.span(SpanName.SESSION_OPEN):
                opening = tracing.caller()
                async with client.run(host, "team-a", "s-1", bundle("a.js", {"a.js": ""}), "", lambda: 1000) as answer:
                    assert answer.status == 200
        opened = memory.ended()["isolate open"].context
    assert opened is not None
    assert traces == [f"00-{opened.trace_id:032x}-{opened.span_id:016x}-01"]
    assert (opening or "")[:35] == f"00-{opened.trace_id:032x}"

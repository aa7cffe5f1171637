"""Several processes on one port: each serves, one that ends is started anew, all drain, and one scrape tells of all."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families

from ambit.gateway import workers
from ambit.gateway.workers import WorkerFailed, Workers
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerClient
from tests.gateway.harness import DAY_MS, SIGNER_PEM, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import running as model_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = Path(__file__).with_name("worker_process.py")
SESSION = "session/team-x/s-1"
COUNT = 2
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@dataclass
class Several:
    """Workers that serve, and what they serve with."""

    workers: Workers
    address: str
    ledger: LedgerClient
    token: str

    def client(self) -> openai.AsyncOpenAI:
        """A client with a connection of its own."""
        return openai.AsyncOpenAI(api_key=self.token, base_url=f"http://{self.address}/openai/v1", max_retries=0)

    async def call(self, model: str = "smart") -> None:
        """One call over a new connection."""
        async with self.client() as client:
            await client.chat.completions.create(model=model, messages=HELLO)

    async def completed(self) -> dict[str, float]:
        """How many calls each worker says it has completed."""
        return await self.samples("ambit_gateway_requests_total", outcome="Completed")

    async def samples(self, name: str, **labels: str) -> dict[str, float]:
        """The sums of a metric's samples that have these labels, by worker."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families((await self.workers.exposition()).decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    worker = sample.labels["worker"]
                    found[worker] = found.get(worker, 0) + sample.value
        return found


async def until(condition: Callable[[], object]) -> None:
    """Waits for it."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[Several]:
    pem = folder / "signer.pem"
    await asyncio.to_thread(pem.write_bytes, SIGNER_PEM)
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])}
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(ledger_server.running(folder / "ledger"))
        models = await stack.enter_async_context(model_server())
        ledger = await stack.enter_async_context(process.client("gateway"))
        operator = await stack.enter_async_context(process.client("operator"))
        await operator.put_account(wire.PutAccount("budget/team-x/research"))
        await operator.put_account(wire.PutAccount("agent/team-x/researcher", (), "budget/team-x/research"))
        opening = wire.Open(SESSION, "agent/team-x/researcher", DAY_MS, (), {"agent": "team-x/researcher"})
        assert isinstance(await ledger.open(opening), wire.Opened)
        kept, address = workers.reserved("127.0.0.1:0")
        stack.callback(kept.close)
        command = [sys.executable, str(PROGRAM), address, process.url, models.url, str(pem)]
        several = Workers(command, [environ] * COUNT)
        running = asyncio.ensure_future(several.run())
        try:
            await until(lambda: several.ready == COUNT or running.done())
            yield Several(several, address, ledger, a_token(SESSION))
        finally:
            several.stop()
            await running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def several(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Several]:
    async with serving(tmp_path_factory.mktemp("workers")) as running:
        yield running


async def test_every_worker_serves_and_one_scrape_counts_each_call_once(several: Several) -> None:
    before = await several.completed()
    calls = 0
    while (
        len([count for worker, count in (await several.completed()).items() if count > before.get(worker, 0)]) < COUNT
    ):
        await several.call()
        calls += 1
    assert sum((await several.completed()).values()) - sum(before.values()) == calls
    exposed = (await several.workers.exposition()).decode()
    assert exposed.count("# TYPE ambit_gateway_requests_total counter") == 1
    assert 'ambit_gateway_worker_starts_total{cause="First",worker="parent"} 2.0' in exposed


async def test_each_worker_is_a_holder_of_its_own(several: Several) -> None:
    holders: set[str] = set()
    while len(holders) < COUNT:  # the kernel chooses who gets a connection
        async with several.client() as client:
            stream = await client.chat.completions.create(model="slow", messages=HELLO, stream=True)
            usage = await several.ledger.usage(wire.GetUsage(SESSION))
            holders |= {hold.id.partition("#")[0] for hold in usage.holds}
            await stream.close()


async def test_a_worker_that_is_killed_is_started_anew_and_costs_the_others_nothing(several: Several) -> None:
    before = set(several.workers.pids)
    killed = several.workers.pids[0]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: killed not in several.workers.pids)
    assert several.workers.not_ready() is None  # the other one serves
    await until(lambda: several.workers.ready == COUNT)
    assert len(set(several.workers.pids) - before) == 1
    assert (await several.samples("ambit_gateway_worker_starts_total", cause="Exited"))["parent"] == 1
    await several.call()


async def test_drained_workers_lose_no_byte_and_leave_nothing_held(tmp_path: Path) -> None:
    async with serving(tmp_path) as several:
        body = {"model": "slow", "messages": HELLO, "stream": True}
        headers = {"Authorization": f"Bearer {several.token}"}
        clients = [httpx.AsyncClient(base_url=f"http://{several.address}", headers=headers) for _ in range(8)]
        begun = asyncio.Barrier(len(clients) + 1)

        async def stream(client: httpx.AsyncClient) -> str:
            async with client.stream("POST", "/openai/v1/chat/completions", json=body) as answer:
                text = answer.aiter_text()
                received = await anext(text)
                await begun.wait()
                return received + "".join([piece async for piece in text])

        streams = [asyncio.ensure_future(stream(client)) for client in clients]
        await begun.wait()
        several.workers.stop()
        assert several.workers.not_ready() == "stopping"
        for received in await asyncio.gather(*streams):
            assert received.count('"content"') == 20
            assert received.endswith("data: [DONE]\n\n")
        await until(lambda: not several.workers.pids)
        usage = await several.ledger.usage(wire.GetUsage(SESSION))
        assert (usage.held, usage.spent.tokens) == (Amount(), 8 * 30)
        for client in clients:
            await client.aclose()


async def test_workers_whose_settings_cannot_be_used_end_their_parent() -> None:
    several = Workers([sys.executable, "-c", "raise SystemExit(3)"], [dict(os.environ)])
    with pytest.raises(WorkerFailed, match="ended with status 3 before it served"):
        await several.run()

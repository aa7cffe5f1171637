"""A call that one backend fails goes to another: when, when not, what each attempt is charged, and who waits."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client import REGISTRY

from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from tests.gateway import harness
from tests.gateway.harness import Gateway, Tenant, calls, usd
from tests.gateway.world import a_route
from tests.model_server.server import running as model_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
NOWHERE = "http://127.0.0.1:1"
WELL = "tokens=5&input=100"
FIRST_BYTE = "200ms"


class Clock:
    """By which backends rest: it stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


CLOCK = Clock()
DRAW = [0.0]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Gateway]:
    folder = tmp_path_factory.mktemp("ledger")
    async with harness.running(folder, clock_s=CLOCK, draw=lambda: DRAW[0]) as running:
        yield running


@contextmanager
def drawn(draw: float) -> Generator[None]:
    DRAW[0] = draw
    yield
    DRAW[0] = 0.0


async def a_tenant(gateway: Gateway, *backends: dict[str, Any], limits: tuple[Any, ...] = (), **route: Any) -> Tenant:
    """Its model `smart` has these backends, `{script, …terms}` each, named a, b, c, of priorities 0, 1, 2."""
    tenant = await gateway.tenant(*limits, scripts={"smart": ""})
    put(gateway, tenant, *backends, **route)
    return tenant


def put(gateway: Gateway, tenant: Tenant, *backends: dict[str, Any], **route: Any) -> None:
    written: list[dict[str, Any]] = []
    for index, (name, terms) in enumerate(zip("abc", backends, strict=False)):
        model = f"scripted?tag={tenant.namespace}&{terms['script']}"
        rest = {field: value for field, value in terms.items() if field != "script"}
        written.append({"name": name, "model": model, "priority": index, "url": gateway.models.url, **rest})
    made = a_route(f"{tenant.namespace}-smart", gateway.models.url, "m", more=written, **route)
    spec = made.spec.model_copy(update={"backends": made.spec.backends[1:]})
    gateway.world.put(made.model_copy(update={"spec": spec}))


async def call(tenant: Tenant, token: str, **fields: Any) -> httpx.Response:
    url = f"{tenant.gateway.sandbox_url}/openai/v1/chat/completions"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        return await client.post(url, json={"model": "smart", "messages": HELLO, "max_tokens": 50, **fields})


def asked(tenant: Tenant) -> list[str]:
    """The scripts of the backends that were asked, in order."""
    return [one.json["model"].partition("&")[2] for one in tenant.received]


def total(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


USED = Amount(usd_nanos=105_000, tokens=105, input_tokens=100, output_tokens=5, model_calls=1)


def without_call(amount: Amount) -> Amount:
    return Amount(amount.usd_nanos, amount.tokens, amount.input_tokens, amount.output_tokens)


# -- what goes to another backend, and what it costs ---------------------------------------------


@pytest.mark.parametrize("failure", ["status=429", "status=529", "status=401"])
async def test_what_a_backend_refuses_goes_to_the_next_and_is_not_charged(gateway: Gateway, failure: str) -> None:
    tenant = await a_tenant(gateway, {"script": failure}, {"script": WELL})
    answer = await call(tenant, await tenant.open())
    assert (answer.status_code, answer.json()["usage"]["total_tokens"]) == (200, 105)
    assert asked(tenant) == [failure, WELL]
    assert (await tenant.settled()).spent == USED


async def test_a_backend_that_cannot_be_reached_costs_nothing_and_the_next_answers(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": WELL, "url": NOWHERE}, {"script": WELL})
    assert (await call(tenant, await tenant.open())).status_code == 200
    assert (await tenant.settled()).spent == USED


@pytest.mark.parametrize(
    "failing",
    [{"script": "status=500"}, {"script": "status=503"}, {"script": "hang_after=0", "firstByteTimeout": FIRST_BYTE}],
    ids=["500", "503", "silent"],
)
async def test_what_may_have_been_billed_is_charged_and_the_call_counts_once(
    gateway: Gateway, failing: dict[str, Any]
) -> None:
    tenant = await a_tenant(gateway, failing, {"script": WELL}, limits=(calls(1),))
    token = await tenant.open()
    first = tenant.held_for("smart", 50)
    assert (await call(tenant, token)).status_code == 200
    assert asked(tenant) == [failing["script"], WELL]
    assert (await tenant.settled()).spent == USED + without_call(first)
    assert (await call(tenant, token)).status_code == 402, "one call, of two attempts, has used up the limit of one"


async def test_a_stream_goes_to_another_backend_as_well(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": "status=429"}, {"script": WELL})
    async with tenant.openai(await tenant.open()) as client:
        stream = await client.chat.completions.create(model="smart", messages=HELLO, stream=True, max_tokens=50)
        assert len([chunk async for chunk in stream]) > 5
    assert (await tenant.settled()).spent == USED


async def test_nothing_goes_on_once_something_of_an_answer_has_been_passed_on(gateway: Gateway) -> None:
    broken = "tokens=9&cut_after=2"
    tenant = await a_tenant(gateway, {"script": broken}, {"script": WELL})
    token = await tenant.open()
    with pytest.raises(httpx.RemoteProtocolError):
        await call(tenant, token, stream=True)
    assert asked(tenant) == [broken]
    assert (await tenant.settled()).spent == tenant.held_for("smart", 50)


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
async def test_what_is_wrong_with_the_request_is_the_clients(gateway: Gateway, status: int) -> None:
    tenant = await a_tenant(gateway, {"script": f"status={status}"}, {"script": WELL})
    answer = await call(tenant, await tenant.open())
    assert (answer.status_code, asked(tenant)) == (status, [f"status={status}"])
    assert (await tenant.settled()).spent == Amount()


async def test_no_more_backends_are_tried_than_max_attempts_and_the_last_answer_is_the_clients(
    gateway: Gateway,
) -> None:
    tenant = await a_tenant(
        gateway,
        {"script": "status=503"},
        {"script": "status=429&retry_after=7"},
        {"script": WELL},
        fallback={"maxAttempts": 2},
    )
    answer = await call(tenant, await tenant.open())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert asked(tenant) == ["status=503", "status=429&retry_after=7"]


async def test_only_what_the_route_names_goes_on(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": "status=503"}, {"script": WELL}, fallback={"when": ["RateLimited"]})
    assert (await call(tenant, await tenant.open())).status_code == 503
    assert asked(tenant) == ["status=503"]


async def test_each_attempt_holds_by_its_own_backends_price_and_limits(gateway: Gateway) -> None:
    dear = {"price": {"input": "10", "output": "30"}, "limits": {"contextTokens": "50", "maxOutputTokens": "20"}}
    tenant = await a_tenant(gateway, {"script": "status=429"}, {"script": "hang_after=0", **dear})
    pending = asyncio.ensure_future(call(tenant, await tenant.open()))
    await tenant.arrived(2)
    held = (await tenant.usage()).held
    assert (held.input_tokens, held.output_tokens, held.model_calls) == (50, 20, 1)
    assert held.usd_nanos == 50 * 10_000 + 20 * 30_000
    assert tenant.received[1].json["max_tokens"] == 20
    await gateway.operator.kill(wire.Kill(tenant.session(), "enough", "test"))
    answer = await pending
    assert (answer.status_code, answer.headers["x-ambit-reason"]) == (402, "SessionEnded")


async def test_of_one_priority_each_has_its_share(gateway: Gateway) -> None:
    backends = ({"script": "tokens=1", "weight": 3, "priority": 0}, {"script": "tokens=2", "priority": 0})
    tenant = await a_tenant(gateway, *backends)
    token = await tenant.open()
    for draw in (0.0, 0.74, 0.76, 0.99):
        with drawn(draw):
            assert (await call(tenant, token)).status_code == 200
    assert asked(tenant) == ["tokens=1", "tokens=1", "tokens=2", "tokens=2"]


# -- who is out -----------------------------------------------------------------------------------


async def test_a_backend_that_fails_again_and_again_is_left_alone_and_tried_again_later(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": "status=503"}, {"script": WELL})
    token = await tenant.open()
    for _ in range(7):
        assert (await call(tenant, token)).status_code == 200
    assert asked(tenant).count("status=503") == 5
    assert total("ambit_gateway_backends_out") >= 1
    CLOCK.now_s += 5
    for _ in range(2):
        assert (await call(tenant, token)).status_code == 200
    assert asked(tenant).count("status=503") == 6, "one call tried, and found it no better"
    route = f"platform/{tenant.namespace}-smart"
    fallbacks = {"route": route, "backend": "a", "cause": "Unavailable"}
    assert total("ambit_gateway_fallbacks_total", **fallbacks) == 6
    assert total("ambit_gateway_backend_out_total", **fallbacks) == 2


async def test_a_provider_that_asks_to_be_left_alone_is_and_the_client_is_told_until_when(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": "status=429&retry_after=12"})
    token = await tenant.open()
    assert (await call(tenant, token)).status_code == 429
    answer = await call(tenant, token)
    assert (answer.status_code, answer.headers["x-ambit-reason"]) == (429, "NoBackend")
    assert answer.headers["retry-after"] == "12"
    assert "a is out for 12 s (RateLimited)" in answer.text
    assert len(tenant.received) == 1
    CLOCK.now_s += 12
    assert (await call(tenant, token)).headers.get("x-ambit-reason") is None
    assert len(tenant.received) == 2
    assert (await tenant.settled()).spent == Amount()


async def test_where_every_backend_is_down_it_is_503_and_costs_nothing(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": WELL, "url": NOWHERE}, {"script": WELL, "url": NOWHERE})
    token = await tenant.open()
    reasons = [(await call(tenant, token)).headers["x-ambit-reason"] for _ in range(6)]
    assert reasons == ["UpstreamFailed"] * 5 + ["NoBackend"]
    answer = await call(tenant, token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await tenant.settled()).spent == Amount()


async def test_a_bound_without_room_for_a_dearer_backend_is_not_said_to_be_spent(gateway: Gateway) -> None:
    dear = {"script": WELL, "price": {"input": "1000", "output": "1000"}}
    tenant = await a_tenant(gateway, {"script": "status=429&retry_after=9"}, dear, limits=(usd(1_000_000),))
    token = await tenant.open()
    for _ in range(2):
        answer = await call(tenant, token)
        assert (answer.status_code, answer.headers["x-ambit-reason"]) == (429, "NoBackend")
        assert answer.headers["retry-after"] == "9"
        assert "allows 0.001 usd" in answer.text
    assert asked(tenant) == ["status=429&retry_after=9"]
    CLOCK.now_s += 9
    put(gateway, tenant, dear)
    assert (await call(tenant, token)).status_code == 402, "it is, where there is no other"


# -- how many at once ---------------------------------------------------------------------------------


async def kill(gateway: Gateway, path: str) -> None:
    await gateway.operator.kill(wire.Kill(path, "enough", "test"))


async def held(tenant: Tenant, session: str) -> None:
    """Waits until a call of this session is held for."""
    while True:
        if (await tenant.usage(tenant.session(session))).held.model_calls:
            return
        await asyncio.sleep(0.005)


async def test_a_call_goes_to_the_backend_with_room_and_waits_where_none_has(gateway: Gateway) -> None:
    first, second = "hang_after=0", "hang_after=0&tokens=1"
    tenant = await a_tenant(gateway, {"script": first, "maxConcurrent": 1}, {"script": second, "maxConcurrent": 1})
    under_way: list[asyncio.Task[httpx.Response]] = []
    for index in range(2):
        token = await tenant.open(name=f"s-{index}")
        under_way.append(asyncio.create_task(call(tenant, token)))
        await tenant.arrived(index + 1)
    assert asked(tenant) == [first, second]
    waiting = asyncio.create_task(call(tenant, await tenant.open(name="s-2")))
    await held(tenant, "s-2")
    assert len(tenant.received) == 2, "it has its hold, and waits for its place"
    await kill(gateway, tenant.session("s-0"))
    await tenant.arrived(3)
    assert asked(tenant) == [first, second, first]
    await kill(gateway, tenant.agent)
    assert [answer.status_code for answer in await asyncio.gather(*under_way, waiting)] == [402, 402, 402]


async def test_a_call_that_waits_for_its_place_ends_with_its_session_and_costs_nothing(gateway: Gateway) -> None:
    tenant = await a_tenant(gateway, {"script": "hang_after=0", "maxConcurrent": 1})
    under_way = asyncio.create_task(call(tenant, await tenant.open(name="s-0")))
    await tenant.arrived(1)
    waiting = asyncio.create_task(call(tenant, await tenant.open()))
    await held(tenant, "s-1")
    await kill(gateway, tenant.session())
    answer = await waiting
    assert (answer.status_code, answer.headers["x-ambit-reason"]) == (402, "SessionEnded")
    assert (await tenant.settled()).spent == Amount()
    assert not under_way.done()
    await kill(gateway, tenant.agent)
    await under_way
    assert len(tenant.received) == 1


async def test_whoever_waits_too_long_is_told_that_the_backend_is_full(tmp_path: Path) -> None:
    async with harness.running(tmp_path, room_s=0.1) as gateway:
        tenant = await a_tenant(gateway, {"script": "hang_after=0", "maxConcurrent": 1})
        under_way = asyncio.create_task(call(tenant, await tenant.open(name="s-0")))
        await tenant.arrived(1)
        answer = await call(tenant, await tenant.open())
        assert (answer.status_code, answer.headers["x-ambit-reason"]) == (429, "NoBackend")
        assert "as many calls under way as it may (1)" in answer.text
        assert (await tenant.settled()).spent == Amount()
        await kill(gateway, tenant.agent)
        await under_way


# -- changes while calls are under way ----------------------------------------------------------------


async def test_a_route_that_is_changed_drops_no_call_and_is_used_by_the_next(gateway: Gateway) -> None:
    async with model_server() as elsewhere:
        tenant = await a_tenant(gateway, {"script": "tokens=30&frame_ms=5&input=100"})
        async with tenant.openai(await tenant.open()) as client:
            stream = await client.chat.completions.create(model="smart", messages=HELLO, stream=True, max_tokens=50)
            chunks = aiter(stream)
            await anext(chunks)
            put(gateway, tenant, {"script": WELL, "url": elsewhere.url})
            assert len([chunk async for chunk in chunks]) >= 29
            await client.chat.completions.create(model="smart", messages=HELLO, max_tokens=50)
        assert (len(tenant.received), len(elsewhere.received)) == (1, 1)
        assert (await tenant.settled()).spent.tokens == 130 + 105

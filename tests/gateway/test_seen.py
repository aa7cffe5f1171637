"""What is seen of calls: times, tokens, refusals, waits; and what never is: contents and credentials."""

import asyncio
import json
import logging

import httpx
import pytest
from prometheus_client import REGISTRY, generate_latest

from ambit.telemetry.logs import JsonFormatter
from tests.gateway.harness import Gateway, Tenant, tokens
from tests.gateway.world import PROVIDER_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "correct-horse-battery-staple"
"""Stands wherever a client can write something."""


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def ask(tenant: Tenant, token: str, **body: object) -> httpx.Response:
    """One call, raw."""
    fields = {"model": "smart", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50, **body}
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=tenant.gateway.sandbox_url, headers=headers) as client:
        return await client.post("/openai/v1/chat/completions", json=fields)


async def test_a_streams_times_and_tokens_are_seen_by_route(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"timed": "tokens=5&input=100&cached=40&first_ms=60&frame_ms=20"})
    route = f"platform/{tenant.namespace}-timed"
    token = await tenant.open()
    assert (await ask(tenant, token, model="timed", stream=True)).status_code == 200
    await tenant.settled()
    assert metric("ambit_gateway_time_to_first_token_seconds_count", route=route) == 1
    assert metric("ambit_gateway_time_to_first_token_seconds_sum", route=route) >= 0.06
    assert metric("ambit_gateway_time_per_output_token_seconds_count", route=route) == 1
    each_s = metric("ambit_gateway_time_per_output_token_seconds_sum", route=route)
    assert each_s >= 0.015  # four intervals of 20 ms, but for what the model server's timers are early
    kinds = ("input", "cache_read", "output")
    counted = {kind: metric("ambit_gateway_tokens_total", route=route, kind=kind) for kind in kinds}
    assert counted == {"input": 60, "cache_read": 40, "output": 5}
    await ask(tenant, token, model="timed")  # no stream: it has no first token
    await tenant.settled()
    assert metric("ambit_gateway_time_to_first_token_seconds_count", route=route) == 1


async def test_a_refusal_is_counted_by_its_bound_and_level(gateway: Gateway) -> None:
    def counted(level: str) -> float:
        labels = {"reason": "LimitExceeded", "resource": "tokens", "window": "Lifetime", "level": level}
        return metric("ambit_refusals_total", **labels)

    before = {level: counted(level) for level in ("budget", "session")}
    tenant = await gateway.tenant(tokens(10))
    assert (await ask(tenant, await tenant.open())).status_code == 402
    other = await gateway.tenant()
    assert (await ask(other, await other.open(tokens(10)))).status_code == 402
    assert {level: counted(level) - before[level] for level in before} == {"budget": 1, "session": 1}


async def test_a_wait_for_room_is_seen_once_it_has_ended(gateway: Gateway) -> None:
    def waited() -> float:
        return metric("ambit_gateway_queue_seconds_count", result="Admitted")

    before = waited()
    tenant = await gateway.tenant(tokens(700), scripts={"smart": "tokens=2&input=10&first_ms=300"})
    answers = await asyncio.gather(*[ask(tenant, await tenant.open(name=f"s-{n}"), max_tokens=400) for n in (1, 2)])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert waited() - before == 1  # each holds more than half of the room


async def test_neither_contents_nor_credentials_are_logged_or_counted(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant = await gateway.tenant()
    token = await tenant.open()
    said = {"role": "user", "content": SECRET}
    tool = {"type": "function", "function": {"name": SECRET, "parameters": {SECRET: SECRET}}}
    assert (await ask(tenant, token, messages=[said], tools=[tool], user=SECRET)).status_code == 200
    headers = {"Authorization": f"Bearer {token}", "X-Trace": SECRET, "Cookie": SECRET, "User-Agent": SECRET}
    post = f"{gateway.sandbox_url}/openai/v1/chat/completions"
    doubled = f'{{"model":"smart","messages":[{{"role":"user","content":"a","{SECRET}":1,"{SECRET}":2}}]}}'
    wrong = [
        httpx.Request("POST", post, headers=headers, content=doubled),
        httpx.Request("POST", post, headers=headers, content=f'{{"model": "smart", "messages": "{SECRET}"'),
        httpx.Request("POST", post, headers=headers, json={"model": SECRET, "messages": [said]}),
        httpx.Request("POST", post, headers=headers, json={"model": "smart", "messages": SECRET}),
        httpx.Request("POST", post, headers={**headers, "Authorization": f"Bearer {SECRET}"}, json={}),
        httpx.Request("POST", f"{post}?key={token}&x={SECRET}", headers={"User-Agent": SECRET}, json={"model": 7}),
        httpx.Request("GET", f"{gateway.sandbox_url}/{SECRET}?key={SECRET}", headers=headers),
        httpx.Request("GET", f"{gateway.sandbox_url}/openai/v1/models/{SECRET}", headers=headers),
    ]
    async with httpx.AsyncClient() as client:
        for request in wrong:
            assert 400 <= (await client.send(request)).status_code < 500
    await tenant.settled()
    formatter = JsonFormatter("gateway")
    lines = [formatter.format(one) for one in caplog.records if one.name.split(".")[0] == "ambit"]
    logged = [json.loads(line) for line in lines]
    assert [line["message"] for line in logged].count("refused") == len(wrong)
    [call] = [line for line in logged if line["message"] == "model call"]
    assert (call["session"], call["ending"], call["status"], call["tokens"]) == (
        tenant.session(),
        "Completed",
        200,
        105,
    )
    assert call["firstByteMs"] <= call["tookMs"]
    seen = "\n".join(lines) + generate_latest().decode()
    for secret in (SECRET, token, token.rpartition(".")[2], PROVIDER_KEY):
        assert secret not in seen

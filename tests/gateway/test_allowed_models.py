"""Which models a session may call, and what it is told about the others."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ambit.api.sandbox import Sandbox
from ambit.policy import CredentialState, SecretKey
from tests.gateway.harness import Gateway, a_token
from tests.gateway.world import SECRET, a_route, an_agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


async def refusal(client: openai.AsyncOpenAI, model: str) -> tuple[int, str, str]:
    """Status, reason, message."""
    with pytest.raises(openai.APIStatusError) as refused:
        await client.chat.completions.create(model=model, messages=HELLO)
    answer = refused.value
    return answer.status_code, answer.response.headers["x-ambit-reason"], str(answer)


async def test_a_model_that_the_agent_does_not_name_is_403_and_the_names_are_listed(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"smart": "", "small": ""})
    async with tenant.openai(await tenant.open()) as client:
        status, reason, message = await refusal(client, "gpt-dear")
    assert (status, reason) == (403, "ModelNotAllowed")
    assert "small, smart" in message


async def test_a_model_of_the_other_format_is_403_and_says_where_to_call(gateway: Gateway) -> None:
    tenant = await gateway.tenant(scripts={"claude": ""}, provider="Anthropic")
    async with tenant.openai(await tenant.open()) as client:
        assert [model.id async for model in client.models.list()] == []
        status, reason, message = await refusal(client, "claude")
    assert (status, reason) == (403, "ModelNotAllowed")
    assert "speaks the Anthropic format" in message


async def test_a_route_that_does_not_allow_the_namespace_is_403(gateway: Gateway) -> None:
    tenant = await gateway.tenant(allowed="Same")
    async with tenant.openai(await tenant.open()) as client:
        status, reason, message = await refusal(client, "smart")
    assert (status, reason) == (403, "RouteUnusable")
    assert f"does not allow namespace {tenant.namespace}" in message


async def test_a_credential_that_is_not_granted_is_403_with_the_command_that_grants_it(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    try:
        gateway.world.put_credential(SECRET, CredentialState.FORBIDDEN)
        async with tenant.openai(await tenant.open()) as client:
            status, reason, message = await refusal(client, "smart")
    finally:
        gateway.world.put_credential(SECRET, CredentialState.READABLE, "sk-provider-key")
    assert (status, reason) == (403, "CredentialForbidden")
    assert (
        "kubectl -n platform create rolebinding ambit-credential-reader --clusterrole=ambit-credential-reader"
        " --serviceaccount=ambit-system:ambit-gateway" in message
    )
    assert tenant.received == []


async def test_a_key_that_is_replaced_is_used_at_the_next_call(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open()) as client:
        try:
            gateway.world.put_credential(SECRET, CredentialState.READABLE, "sk-newer")
            await client.chat.completions.create(model="smart", messages=HELLO)
        finally:
            gateway.world.put_credential(SECRET, CredentialState.READABLE, "sk-provider-key")
    assert tenant.received[0].header("authorization") == "Bearer sk-newer"


async def test_a_route_without_a_credential_is_called_without_a_key(gateway: Gateway) -> None:
    tenant = await gateway.tenant(credential=False)
    token = await tenant.open()
    async with tenant.openai(token) as client:
        await client.chat.completions.create(model="smart", messages=HELLO)
    assert tenant.received[0].header("authorization") is None


async def test_a_path_before_the_formats_own_is_kept(gateway: Gateway) -> None:
    tenant = await gateway.tenant(url=f"{gateway.models.url}/behind/a/path")
    async with tenant.openai(await tenant.open()) as client:
        await client.chat.completions.create(model="smart", messages=HELLO)
    assert tenant.received[0].target == "/behind/a/path/v1/chat/completions"


async def test_what_was_created_a_moment_ago_is_waited_for(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    gateway.world.put(an_agent(tenant.namespace, "researcher", {"fresh": f"{tenant.namespace}-fresh"}))
    async with tenant.openai(await tenant.open()) as client:
        call = asyncio.ensure_future(client.chat.completions.create(model="fresh", messages=HELLO))
        await asyncio.sleep(0.2)
        assert not call.done()
        script = f"scripted?tag={tenant.namespace}&tokens=1"
        gateway.world.put(a_route(f"{tenant.namespace}-fresh", gateway.models.url, script))
        assert (await call).choices[0].message.content == "w0 "


async def test_an_agent_that_stays_unknown_is_503_never_401(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambit.gateway.routes.allowed_models.WAIT_TO_BE_KNOWN_S", 0.2)
    tenant = await gateway.tenant()
    async with tenant.openai(await tenant.open(agent=f"{tenant.namespace}/nobody"), max_retries=0) as client:
        assert (await refusal(client, "smart"))[:2] == (503, "NotYetKnown")


async def test_a_credential_that_is_not_known_yet_is_503(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambit.gateway.routes.allowed_models.WAIT_TO_BE_KNOWN_S", 0.2)
    tenant = await gateway.tenant()
    route: Any = a_route(f"{tenant.namespace}-smart", gateway.models.url, "m").to_dict()
    route["spec"]["backends"][0]["credentialRef"]["name"] = "unknown"
    assert SecretKey("platform", "unknown", "apiKey") not in gateway.world.facts.credentials
    gateway.world.put(type(a_route("x", "http://x", "m")).from_dict(route))
    async with tenant.openai(await tenant.open(), max_retries=0) as client:
        assert (await refusal(client, "smart"))[:2] == (503, "NotYetKnown")


async def test_a_sandbox_of_its_own_calls_the_models_that_it_names(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    uid = "0a1b2c3d-0000-4000-8000-000000000000"
    sandbox = {
        "metadata": {"name": "workspace", "namespace": tenant.namespace, "uid": uid},
        "spec": {
            "environment": {"container": {"image": "example.test/coder:1"}},
            "models": [{"name": "own", "routeRef": {"name": f"{tenant.namespace}-smart", "namespace": "platform"}}],
        },
    }
    gateway.world.put(Sandbox.from_dict(sandbox))
    await tenant.open(name="workspace-0a1b2c3d", parent=tenant.budget, agent="")
    async with httpx.AsyncClient(base_url=gateway.sandbox_url) as client:
        headers = {"Authorization": f"Bearer {a_token(tenant.session('workspace-0a1b2c3d'))}"}
        body = {"model": "own", "messages": HELLO}
        assert (await client.post("/openai/v1/chat/completions", json=body, headers=headers)).status_code == 200

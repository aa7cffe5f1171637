"""The gateway process at a real apiserver, with the chart's rights: what it reads and reviews, and how it stops."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ambit.kube import resources as kinds
from tests.gateway.installed import GATEWAY, Installed, installed

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
PATH = "/openai/v1/chat/completions"
CALL = {"model": "smart", "messages": [{"role": "user", "content": "hello"}]}
RBAC_GROUP = "rbac.authorization.k8s.io"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Installed]:
    async with installed(tmp_path_factory.mktemp("gateway")) as running:
        yield running


async def post(url: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return await client.post(PATH, json=CALL, headers=headers)


async def until(
    wanted: Callable[[httpx.Response], bool], ask: Callable[[], Awaitable[httpx.Response]]
) -> httpx.Response:
    """Asks until the answer is as wanted; the apiserver's caches and our watches take a moment."""
    async with asyncio.timeout(30):
        while True:
            answer = await ask()
            if wanted(answer):
                return answer
            await asyncio.sleep(0.1)


async def an_agent_with_a_route(cluster: Installed, **route: Any) -> None:
    backend = {
        "name": "only",
        "provider": "OpenAI",
        "url": cluster.models.url.replace("127.0.0.1", "localhost"),  # with a key, http only to a host without a dot
        "model": "scripted?tokens=5&input=100",
        "credentialRef": {"name": "provider", "key": "apiKey"},
        "price": {"input": "1", "output": "1"},
        "limits": {"contextTokens": "100k", "maxOutputTokens": "4k"},
    }
    await cluster.put(kinds.MODEL_ROUTES, "smart", spec={"backends": [{**backend, **route}]})
    models = [{"name": "smart", "routeRef": {"name": "smart"}}]
    environment = {"container": {"image": "example.test/agent:1"}}
    await cluster.put(kinds.AGENTS, "researcher", spec={"environment": environment, "models": models})


async def grant(cluster: Installed) -> None:
    """Lets the gateway read the namespace's Secrets."""
    await cluster.put(
        kinds.ROLE_BINDINGS,
        "ambit-credential-reader",
        roleRef={"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": cluster.reader},
        subjects=[{"kind": "ServiceAccount", "name": GATEWAY, "namespace": cluster.namespace}],
    )


async def test_a_provider_key_is_read_once_it_is_granted_and_replaced_when_it_changes(cluster: Installed) -> None:
    token = await cluster.open("s-1")
    headers = {"Authorization": f"Bearer {token}"}
    key = base64.b64encode(b"sk-first\n").decode()
    await cluster.put(kinds.SECRETS, "provider", data={"apiKey": key})
    await an_agent_with_a_route(cluster)

    refused = await until(lambda a: a.status_code == 403, lambda: post(cluster.sandbox_url, headers))
    assert refused.headers["x-ambit-reason"] == "CredentialForbidden"
    command = (
        f"kubectl -n {cluster.namespace} create rolebinding ambit-credential-reader"
        f" --clusterrole=ambit-credential-reader --serviceaccount={cluster.namespace}:{GATEWAY}"
    )
    assert command in refused.json()["error"]["message"]

    await grant(cluster)
    await until(lambda a: a.status_code == 200, lambda: post(cluster.sandbox_url, headers))
    assert cluster.models.received[-1].header("authorization") == "Bearer sk-first"

    await cluster.put(kinds.SECRETS, "provider", data={"apiKey": base64.b64encode(b"sk-second").decode()})
    await an_agent_with_a_route(cluster, model="scripted?tokens=6&input=100")  # a changed route is looked at anew
    await until(
        lambda _: cluster.models.received[-1].header("authorization") == "Bearer sk-second",
        lambda: post(cluster.sandbox_url, headers),
    )


async def test_an_isolate_host_is_known_by_the_token_of_its_pod(cluster: Installed) -> None:
    await an_agent_with_a_route(cluster)
    await cluster.put(kinds.SERVICE_ACCOUNTS, "host")
    containers = [{"name": "host", "image": "none"}]
    await cluster.put(
        kinds.PODS,
        "host-0",
        spec={"serviceAccountName": "host", "automountServiceAccountToken": False, "containers": containers},
    )
    pod = await cluster.kube.get(kinds.PODS, "host-0", cluster.namespace)
    uid = pod["metadata"]["uid"]

    async def a_token(audience: str) -> str:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": "host-0", "uid": uid}
        request = {"spec": {"audiences": [audience], "boundObjectRef": bound, "expirationSeconds": 600}}
        made = await cluster.kube.create(
            kinds.SERVICE_ACCOUNTS, request, cluster.namespace, name="host", subresource="token"
        )
        return made["status"]["token"]

    await cluster.open("s-2", hostPod=uid, environment="isolate")
    await cluster.open("s-3", hostPod="another", environment="isolate")
    token = await a_token("ambit-gateway")

    def from_host(bearer: str, session: str) -> Callable[[], Awaitable[httpx.Response]]:
        named = {"Authorization": f"Bearer {bearer}", "x-ambit-session": f"{cluster.namespace}/{session}"}
        return lambda: post(cluster.isolate_url, named)

    await until(lambda a: a.status_code == 200, from_host(token, "s-2"))
    assert (await from_host(token, "s-3")()).status_code == 403
    assert (await from_host(await a_token("ambit-ledger"), "s-2")()).status_code == 401


async def test_it_is_ready_counts_what_it_does_and_stops_cleanly(cluster: Installed) -> None:
    headers = {"Authorization": f"Bearer {await cluster.open('s-4')}"}
    await an_agent_with_a_route(cluster)
    await until(lambda a: a.status_code == 200, lambda: post(cluster.sandbox_url, headers))
    async with httpx.AsyncClient(base_url=cluster.health_url) as client:
        await until(lambda a: a.status_code == 200, lambda: client.get("/readyz"))
        counted = (await client.get("/metrics")).text
    route = f"{cluster.namespace}/smart"
    assert f'ambit_gateway_requests_total{{outcome="Completed",route="{route}"}}' in counted
    assert f'ambit_gateway_tokens_total{{kind="output",route="{route}"}}' in counted
    assert 'ambit_refusals_total{level="",reason="CredentialForbidden"' in counted
    assert await cluster.stop() == 0


async def test_a_gateway_of_two_processes_serves_at_one_address_and_tells_of_both(tmp_path: Path) -> None:
    async with installed(tmp_path, AMBIT_GATEWAY_WORKERS="2") as several:
        headers = {"Authorization": f"Bearer {await several.open('s-1')}"}
        await several.put(kinds.SECRETS, "provider", data={"apiKey": base64.b64encode(b"sk-first").decode()})
        await grant(several)
        await an_agent_with_a_route(several)
        async with httpx.AsyncClient(base_url=several.health_url) as client:
            completed = [f'outcome="Completed",route="{several.namespace}/smart",worker="{number}"' for number in "01"]
            told = ""
            while not all(one in told for one in completed):
                await post(several.sandbox_url, headers)  # each over a connection of its own
                told = (await client.get("/metrics")).text
            assert (await client.get("/readyz")).status_code == 200
        assert await several.stop() == 0

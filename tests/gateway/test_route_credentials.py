"""A route's key on a real apiserver, with the gateway's own rights: granted, replaced and withdrawn while it serves."""

import asyncio
import base64
import contextlib
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from ambit.gateway import data_plane
from ambit.gateway.routes.world import WatchedWorld
from ambit.kube import KubeClient, KubeConfig
from ambit.kube import resources as kinds
from ambit.kube.config import from_kubeconfig
from ambit.ledger import wire
from ambit.policy import GatewayAccount
from tests.api.apiserver import connected
from tests.gateway.harness import DAY_MS, SIGNER_PEM, Reviewer, a_token
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer
from tests.model_server.server import running as model_server

pytestmark = pytest.mark.integration
ACCOUNT = "gateway"
WAIT_S = 60.0
"""Far longer than any of it takes; what hangs ends the test."""


async def test_a_key_is_used_once_it_is_granted_replaced_without_a_restart_and_no_more_once_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambit.gateway.routes.credentials.REREAD_S", 0.1)
    monkeypatch.setattr("ambit.gateway.routes.credentials.REREAD_UNREADABLE_S", 0.1)
    with connected():  # the CRDs
        pass
    namespace = f"keys-{uuid.uuid4().hex[:8]}"
    async with (
        KubeClient(KubeConfig.load(os.environ)) as admin,
        model_server() as models,
        a_namespace(admin, namespace, models.url),
    ):
        config = as_the_gateway(await a_token_of_it(admin, namespace), tmp_path)
        async with a_gateway(config, namespace, tmp_path) as url:
            await until(lambda: reason(url, namespace), "CredentialForbidden")
            assert models.received == []
            await admin.create(kinds.ROLE_BINDINGS, a_grant(namespace), namespace)
            await until(lambda: key_used(url, namespace, models), "Bearer sk-one")
            await replace_key(admin, namespace, "sk-two")
            await until(lambda: key_used(url, namespace, models), "Bearer sk-two")
            used = [await key_used(url, namespace, models) for _ in range(3)]
            assert used == ["Bearer sk-two"] * 3, "the old one never again"
            await admin.delete(kinds.ROLE_BINDINGS, "grant", namespace)
            await until(lambda: reason(url, namespace), "CredentialForbidden")
            calls = len(models.received)
            assert await reason(url, namespace) == "CredentialForbidden"
            assert len(models.received) == calls


# -- what the gateway is asked ---------------------------------------------------------


async def ask(url: str, namespace: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {a_token(f'session/{namespace}/s-1')}"}
    body = {"model": "smart", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    async with httpx.AsyncClient(headers=headers, timeout=WAIT_S) as client:
        return await client.post(f"{url}/openai/v1/chat/completions", json=body)


async def reason(url: str, namespace: str) -> str:
    """Why a call is refused; empty: it is not."""
    return (await ask(url, namespace)).headers.get("x-ambit-reason", "")


async def key_used(url: str, namespace: str, models: ModelServer) -> str | None:
    """The key with which the model's server was called; None: it was not."""
    before = len(models.received)
    await ask(url, namespace)
    return models.received[-1].header("authorization") if len(models.received) > before else None


async def until(seen: Callable[[], Awaitable[object]], wanted: object) -> None:
    deadline = monotonic() + WAIT_S
    while (found := await seen()) != wanted:
        assert monotonic() < deadline, found
        await asyncio.sleep(0.05)


# -- what there is -----------------------------------------------------------------------


@asynccontextmanager
async def a_gateway(config: KubeConfig, namespace: str, folder: Path) -> AsyncGenerator[str]:
    """Its data path, watching the apiserver by itself, with one session that is open; where sandboxes reach it."""
    settings = data_plane.DataPlaneSettings("127.0.0.1:0", "127.0.0.1:0", SIGNER_PEM, 60_000, 60.0, 0.0)
    async with (
        ledger_server.running(folder) as process,
        process.client("operator") as operator,
        process.client("gateway") as ledger,
        KubeClient(config) as client,
    ):
        await operator.put_account(wire.PutAccount(f"budget/{namespace}/research"))
        agent = f"agent/{namespace}/researcher"
        await operator.put_account(wire.PutAccount(agent, (), f"budget/{namespace}/research"))
        session = f"session/{namespace}/s-1"
        await ledger.open(wire.Open(session, agent, DAY_MS, (), {"agent": f"{namespace}/researcher"}))
        world = WatchedWorld(client, GatewayAccount(namespace, ACCOUNT))
        watching = asyncio.create_task(world.run())
        try:
            async with data_plane.serve(settings, ledger, world, Reviewer()) as plane:
                yield f"http://{plane.sandbox_address}"
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


@asynccontextmanager
async def a_namespace(admin: KubeClient, namespace: str, models_url: str) -> AsyncGenerator[None]:
    """With an Agent, its route, the route's Secret, and the gateway's account, which may read all but Secrets."""
    read = {
        "rules": [
            {"apiGroups": ["ambit.dev"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
        ]
    }
    subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]
    everywhere = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    await admin.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
    await admin.create(kinds.CLUSTER_ROLES, {"metadata": {"name": namespace}, **read})
    binding = {"metadata": {"name": namespace}, "roleRef": everywhere, "subjects": subjects}
    await admin.create(kinds.CLUSTER_ROLE_BINDINGS, binding)
    try:
        await admin.create(kinds.SERVICE_ACCOUNTS, {"metadata": {"name": ACCOUNT}}, namespace)
        rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
        await admin.create(kinds.ROLES, {"metadata": {"name": "reader"}, "rules": rules}, namespace)
        secret = {"metadata": {"name": "provider"}, "stringData": {"apiKey": "sk-one"}}
        await admin.create(kinds.SECRETS, secret, namespace)
        backend = {
            "name": "only",
            "provider": "OpenAI",
            "url": models_url.replace("127.0.0.1", "localhost"),
            "model": "scripted?tokens=1",
            "credentialRef": {"name": "provider", "key": "apiKey"},
            "price": {"input": "1", "output": "1"},
            "limits": {"contextTokens": "1000", "maxOutputTokens": "100"},
        }
        await admin.create(kinds.MODEL_ROUTES, manifest("ModelRoute", "smart", {"backends": [backend]}), namespace)
        spec = {
            "environment": {"container": {"image": "example.test/agent:1"}},
            "models": [{"name": "smart", "routeRef": {"name": "smart"}}],
        }
        await admin.create(kinds.AGENTS, manifest("Agent", "researcher", spec), namespace)
        yield
    finally:
        await admin.delete(kinds.CLUSTER_ROLE_BINDINGS, namespace)
        await admin.delete(kinds.CLUSTER_ROLES, namespace)
        await admin.delete(kinds.NAMESPACES, namespace)


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": kinds.AGENTS.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_grant(namespace: str) -> dict[str, Any]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}]
    return {"metadata": {"name": "grant"}, "roleRef": role, "subjects": subjects}


async def replace_key(admin: KubeClient, namespace: str, key: str) -> None:
    data = {"apiKey": base64.b64encode(key.encode()).decode()}
    await admin.patch(kinds.SECRETS, "provider", {"data": data}, namespace)


async def a_token_of_it(admin: KubeClient, namespace: str) -> str:
    """A token of the gateway's account, as the kubelet would project it."""
    path = f"{kinds.SERVICE_ACCOUNTS.path(namespace, ACCOUNT)}/token"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer = msgspec.json.decode(await admin.request("POST", kinds.SERVICE_ACCOUNTS, path, body=review))
    return str(answer["status"]["token"])


def as_the_gateway(token: str, folder: Path) -> KubeConfig:
    """The same apiserver, with that token as the identity."""
    admins = Path(os.environ["KUBECONFIG"])
    document = yaml.safe_load(admins.read_text())
    for cluster in document["clusters"]:
        authority = cluster["cluster"].get("certificate-authority")
        if authority is not None:
            cluster["cluster"]["certificate-authority"] = str(admins.parent / authority)
    for user in document["users"]:
        user["user"] = {"token": token}
    written = folder / "kubeconfig"
    written.write_text(yaml.safe_dump(document))
    return from_kubeconfig(written)

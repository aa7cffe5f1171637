"""ambit.kube against the apiserver of KUBECONFIG."""

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ambit.kube import (
    Access,
    AlreadyExists,
    Conflict,
    Forbidden,
    Identity,
    Invalid,
    KubeClient,
    KubeConfig,
    ListWatch,
    NotFound,
    Unauthorized,
)
from ambit.kube.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS

pytestmark = pytest.mark.integration


@asynccontextmanager
async def a_namespace() -> AsyncGenerator[tuple[KubeClient, str]]:
    name = f"kube-test-{uuid.uuid4().hex[:8]}"
    async with KubeClient(KubeConfig.load(os.environ)) as client:
        await client.create(NAMESPACES, {"metadata": {"name": name}})
        try:
            yield client, name
        finally:
            await client.delete(NAMESPACES, name)


def a_config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


async def test_an_object_lives_through_every_call() -> None:
    async with a_namespace() as (client, namespace):
        created = await client.create(CONFIG_MAPS, a_config_map("a", x="1"), namespace)
        with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
            await client.create(CONFIG_MAPS, a_config_map("a"), namespace)
        with pytest.raises(Invalid, match="Invalid value"):
            await client.create(CONFIG_MAPS, a_config_map("Not A Name"), namespace)

        await client.patch(CONFIG_MAPS, "a", {"data": {"y": "2", "x": None}}, namespace)
        patched = await client.patch_json(CONFIG_MAPS, "a", [{"op": "add", "path": "/data/z", "value": "3"}], namespace)
        assert patched["data"] == {"y": "2", "z": "3"}
        with pytest.raises(Conflict, match="the object has been modified"):
            await client.replace(CONFIG_MAPS, "a", created, namespace)
        applied = await client.apply(
            CONFIG_MAPS,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "4"}},
            namespace,
            field_manager="test",
        )
        assert applied["data"]["y"] == "4"

        with pytest.raises(Conflict, match="UID in the precondition"):
            await client.delete(CONFIG_MAPS, "a", namespace, uid=str(uuid.uuid4()))
        await client.delete(CONFIG_MAPS, "a", namespace, uid=created["metadata"]["uid"])
        with pytest.raises(NotFound, match='configmaps "a" not found'):
            await client.get(CONFIG_MAPS, "a", namespace)


async def test_a_dry_run_leaves_nothing() -> None:
    async with a_namespace() as (client, namespace):
        await client.create(CONFIG_MAPS, a_config_map("a"), namespace, dry_run=True)
        assert await client.list(CONFIG_MAPS, namespace, label_selector="of=test") == []


async def test_a_list_longer_than_a_page_is_whole() -> None:
    async with a_namespace() as (client, namespace):
        names = {f"c{number}" for number in range(510)}
        await asyncio.gather(*(client.create(CONFIG_MAPS, a_config_map(name), namespace) for name in names))
        found = await client.list(CONFIG_MAPS, namespace, label_selector="of=test")
        assert {item["metadata"]["name"] for item in found} == names


async def test_a_token_of_a_service_account_is_known_for_its_audience_only() -> None:
    async with a_namespace() as (client, namespace):
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, namespace)
        made = await client.create(
            SERVICE_ACCOUNTS, {"spec": {"audiences": ["ambit-ledger"]}}, namespace, name="robot", subresource="token"
        )
        token: str = made["status"]["token"]
        identity = await client.token_review(token, ("ambit-ledger",))
        assert identity is not None
        assert identity.username == f"system:serviceaccount:{namespace}:robot"
        assert f"system:serviceaccounts:{namespace}" in identity.groups
        assert identity.pod_name is None
        assert await client.token_review(token, ("ambit-gateway",)) is None
        assert await client.token_review(token) is None
        assert await client.token_review("no token at all", ("ambit-ledger",)) is None


async def test_access_is_what_rbac_says() -> None:
    async with a_namespace() as (client, namespace):
        access = Access("create", "ambit.dev", "agents", "sessions", namespace, "researcher")
        assert not await client.subject_access_review(Identity("alice", ("team-a",)), access)
        assert await client.subject_access_review(Identity("root", ("system:masters",)), access)


async def test_it_says_what_time_it_is() -> None:
    async with KubeClient(KubeConfig.load(os.environ)) as client:
        assert abs(await client.clock_ms() - time.time() * 1000) < 3_600_000


async def test_wrong_and_weak_credentials_are_told_apart() -> None:
    async with a_namespace() as (client, namespace):
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, namespace)
        made = await client.create(SERVICE_ACCOUNTS, {}, namespace, name="robot", subresource="token")
        # The administrator's client certificate would win over the token: only the authority is kept.
        tokens_only = replace(client.config, tls=_without_certificate(client.config), token=lambda: "wrong")
        async with KubeClient(tokens_only) as stranger:
            with pytest.raises(Unauthorized):
                await stranger.list(CONFIG_MAPS, namespace)
        weak = replace(tokens_only, token=lambda: str(made["status"]["token"]))
        async with KubeClient(weak) as robot:
            with pytest.raises(Forbidden, match=f'User "system:serviceaccount:{namespace}:robot" cannot list'):
                await robot.list(CONFIG_MAPS, namespace)


def _without_certificate(config: KubeConfig) -> ssl.SSLContext:
    assert config.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in config.tls.get_ca_certs(binary_form=True):
        context.load_verify_locations(cadata=authority)
    return context


class Slim(msgspec.Struct):
    """What the cache keeps of a ConfigMap."""

    data: dict[str, str] = {}


async def test_a_cache_follows_the_apiserver() -> None:
    async with a_namespace() as (client, namespace):
        await client.create(CONFIG_MAPS, a_config_map("first", x="1"), namespace)
        await client.create(CONFIG_MAPS, {"metadata": {"name": "unlabelled"}}, namespace)
        cache = ListWatch(
            client, CONFIG_MAPS, msgspec.json.Decoder(Slim).decode, namespace=namespace, label_selector="of=test"
        )
        changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        cache.subscribe(lambda change: changes.put_nowait((change.key[1], change.after is not None)))
        running = asyncio.create_task(cache.run())
        try:
            async with asyncio.timeout(60):
                await cache.synced.wait()
                assert await changes.get() == ("first", True)
                await client.create(CONFIG_MAPS, a_config_map("second"), namespace)
                assert await changes.get() == ("second", True)
                await client.patch(CONFIG_MAPS, "second", {"data": {"y": "2"}}, namespace)
                assert await changes.get() == ("second", True)
                assert cache.items[namespace, "second"].data == {"y": "2"}
                await client.delete(CONFIG_MAPS, "first", namespace)
                assert await changes.get() == ("first", False)
                assert set(cache.items) == {(namespace, "second")}
        finally:
            running.cancel()

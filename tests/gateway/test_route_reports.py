"""What the gateway says of a route's Secret: whether it is there, once, and nothing else."""

import asyncio
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ambit.api.base import ObjectKey
from ambit.api.conditions import Condition
from ambit.api.model_route import FallbackCause, ModelRoute
from ambit.gateway.attempts.backends import Out
from ambit.gateway.routes.health_reports import HealthReports, health
from ambit.gateway.routes.reports import report
from ambit.gateway.routes.world import WatchedWorld
from ambit.kube import KubeClient, KubeConfig
from ambit.kube import resources as kinds
from ambit.policy import CredentialState, GatewayAccount, SecretKey
from tests.api.apiserver import connected
from tests.policy.builders import a_route

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYED = a_route(credential=("openai", "apiKey"))
SECRET = SecretKey("team-a", "openai", "apiKey")


def with_report(route: ModelRoute, state: CredentialState) -> ModelRoute:
    found = report(route, {SECRET: state}, NOW)
    assert found is not None
    status = route.status.model_copy(update={"conditions": (found.condition,), "backends": found.backends})
    return route.model_copy(update={"status": status})


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (CredentialState.READABLE, ("True", "Readable")),
        (CredentialState.SECRET_MISSING, ("False", "SecretMissing")),
        (CredentialState.KEY_MISSING, ("False", "KeyMissing")),
        (CredentialState.FORBIDDEN, None),
        (None, None),
    ],
)
def test_what_is_said(state: CredentialState | None, said: tuple[str, str] | None) -> None:
    found = report(KEYED, {SECRET: state} if state else {}, NOW)
    assert (found and (found.condition.status.value, found.condition.reason)) == said
    assert report(a_route(), {}, NOW) is None


def test_nothing_is_said_twice_and_a_change_is() -> None:
    missing = with_report(KEYED, CredentialState.SECRET_MISSING)
    assert report(missing, {SECRET: CredentialState.SECRET_MISSING}, NOW) is None
    assert report(missing, {SECRET: CredentialState.READABLE}, NOW) is not None
    edited = missing.model_copy(update={"metadata": missing.metadata.model_copy(update={"generation": 2})})
    assert report(edited, {SECRET: CredentialState.SECRET_MISSING}, NOW) is not None


def test_each_backend_has_its_state_and_the_condition_is_that_of_the_worst() -> None:
    other = SecretKey("team-a", "other", "apiKey")
    second = {"name": "second", "credentialRef": {"name": "other", "key": "apiKey"}}
    route = a_route(credential=("openai", "apiKey"), more_backends=[second, {"name": "third", "credentialRef": None}])
    found = report(route, {SECRET: CredentialState.READABLE, other: CredentialState.KEY_MISSING}, NOW)
    assert found is not None
    assert [(one.name, one.credential) for one in found.backends] == [
        ("primary", "Readable"),
        ("second", "KeyMissing"),
    ]
    assert (found.condition.status.value, found.condition.reason) == ("False", "KeyMissing")
    assert found.condition.message == "backend second: Secret team-a/other, key apiKey"


OUT = Out(ObjectKey("team-a", "smart"), "primary", FallbackCause.UNAVAILABLE, 30.0)


def with_condition(route: ModelRoute, condition: Condition) -> ModelRoute:
    return route.model_copy(update={"status": route.status.model_copy(update={"conditions": (condition,)})})


def test_which_backend_is_out_is_said_once_and_taken_back_by_whoever_said_it() -> None:
    route = a_route()
    assert health(route, [], False, NOW) is None, "nothing to say"
    assert health(route, [OUT._replace(for_s=1.0)], False, NOW) is None, "it is back before anybody has read it"
    assert health(route, [OUT._replace(route=ObjectKey("team-a", "other"))], False, NOW) is None
    said = health(route, [OUT], False, NOW)
    assert said is not None
    assert (said.status.value, said.reason, said.message) == ("False", "BackendOut", "primary is out (Unavailable)")
    stands = with_condition(route, said)
    assert health(stands, [OUT], True, NOW) is None
    assert health(stands, [OUT._replace(cause=FallbackCause.TIMEOUT)], False, NOW) is None, "another gateway's word"
    changed = health(stands, [OUT._replace(cause=FallbackCause.TIMEOUT)], True, NOW)
    assert changed is not None
    assert changed.message == "primary is out (Timeout)"
    assert health(stands, [], False, NOW + timedelta(minutes=4)) is None, "whoever said it takes it back"
    for said_it, now in ((True, NOW), (False, NOW + timedelta(minutes=5))):
        back = health(stands, [], said_it, now)
        assert back is not None
        assert (back.status.value, back.reason, back.message) == ("True", "Available", "")


@pytest.mark.integration
async def test_which_backend_is_out_is_written_beside_what_others_say() -> None:
    with connected():  # the CRDs
        pass
    namespace = f"reports-{uuid.uuid4().hex[:8]}"
    async with KubeClient(KubeConfig.load(os.environ)) as client:
        await client.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
        world = WatchedWorld(client, GatewayAccount("ambit-system", "ambit-gateway"))
        out = [OUT._replace(route=ObjectKey(namespace, "keyed"))]
        reports = HealthReports(client, world.routes, lambda: tuple(out))
        try:
            body = {"apiVersion": kinds.MODEL_ROUTES.api_version, "kind": "ModelRoute", "metadata": {"name": "keyed"}}
            await client.create(kinds.MODEL_ROUTES, {**body, "spec": KEYED.to_dict()["spec"]}, namespace)
            running = [asyncio.create_task(world.run()), asyncio.create_task(reports.run(look_every_s=0.05))]
            both = {"CredentialReadable": "SecretMissing"}
            await until(client, namespace, {**both, "BackendsAvailable": "BackendOut"})
            out.clear()
            await until(client, namespace, {**both, "BackendsAvailable": "Available"})
            for one in running:
                one.cancel()
        finally:
            await client.delete(kinds.NAMESPACES, namespace)


@pytest.mark.integration
async def test_it_is_written_beside_the_operators_conditions() -> None:
    """As the cluster's administrator: which rights the gateway has is tried where the chart is installed."""
    with connected():  # the CRDs
        pass
    namespace = f"reports-{uuid.uuid4().hex[:8]}"
    async with KubeClient(KubeConfig.load(os.environ)) as client:
        await client.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
        world = WatchedWorld(client, GatewayAccount("ambit-system", "ambit-gateway"))
        running = asyncio.create_task(world.run())
        try:
            spec = {**KEYED.to_dict()["spec"]}
            body = {"apiVersion": kinds.MODEL_ROUTES.api_version, "kind": "ModelRoute", "metadata": {"name": "keyed"}}
            await client.create(kinds.MODEL_ROUTES, {**body, "spec": spec}, namespace)
            ready = {
                "type": "Ready",
                "status": "False",
                "reason": "Other",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }
            await client.patch_status(kinds.MODEL_ROUTES, "keyed", {"conditions": [ready]}, namespace)
            await until(client, namespace, {"Ready": "Other", "CredentialReadable": "SecretMissing"})
            secret = {"metadata": {"name": "openai"}, "stringData": {"apiKey": "x"}}
            await client.create(kinds.SECRETS, secret, namespace)
            await until(client, namespace, {"Ready": "Other", "CredentialReadable": "Readable"})
        finally:
            running.cancel()
            await client.delete(kinds.NAMESPACES, namespace)


async def until(client: KubeClient, namespace: str, reasons: dict[str, str]) -> None:
    deadline, seen = time.monotonic() + 20, dict[str, Any]()
    while seen != reasons:
        assert time.monotonic() < deadline, seen
        route = await client.get(kinds.MODEL_ROUTES, "keyed", namespace)
        seen = {c["type"]: c["reason"] for c in route.get("status", {}).get("conditions", [])}
        await asyncio.sleep(0.05)

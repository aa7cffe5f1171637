"""The listener for people as it is deployed, but for the cluster's nodes: real apiserver, real ledger process, real
isolate host with workerd, TLS, RBAC. An isolate host's Pod is an object without a node, whose address is the host's.
"""

import asyncio
import itertools
import json
import os
import ssl
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ambit.api.agent import Agent
from ambit.api.base import ObjectKey
from ambit.api.names import GATEWAY_CA_PEM
from ambit.control.accounts import put_operation
from ambit.control.keys import (
    GATEWAY_SIGNER,
    GATEWAY_TLS,
    KeyState,
    WriteSecret,
    WriteTrust,
    gateway_names,
    load_signer,
    missing,
)
from ambit.gateway.routes.world import WatchedWorld
from ambit.gateway.sessions.listener import PeopleListener, PeopleSettings, serve
from ambit.kube import AlreadyExists, KubeClient, KubeConfig
from ambit.kube.resources import (
    AGENTS,
    BUDGETS,
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SANDBOX_POOLS,
    SERVICE_ACCOUNTS,
)
from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource, Window
from ambit.ledger.client import LedgerClient
from ambit.policy import GatewayAccount
from ambit.policy.sessions import agent_account
from tests.chart.crds import install_crds
from tests.isolates.host import Host, a_host, until
from tests.ledger.server import running as running_ledger

_hosts = itertools.count(1)


@dataclass
class Event:
    """One server-sent event."""

    name: str
    data: dict[str, Any]


@dataclass
class Rig:
    """A namespace with everything in it that a session needs."""

    kube: KubeClient
    namespace: str
    ledger_url: str
    ledger: LedgerClient
    """As the gateway."""
    operator: LedgerClient
    listener: PeopleListener
    client: aiohttp.ClientSession
    """Of the administrator, by client certificate."""
    stranger: aiohttp.ClientSession
    """Without any identity."""
    authority_pem: str
    """By which clients know the listener."""
    host: Host | None = None
    host_uid: str = ""

    @property
    def url(self) -> str:
        return f"https://{self.listener.address}"

    def sessions_url(self, session: str | None = None) -> str:
        url = f"{self.url}/v1/namespaces/{self.namespace}/sessions"
        return url if session is None else f"{url}/{session}"

    def open(self, agent: str, session_input: str = "", **body: Any) -> "aiohttp.client._RequestContextManager":  # pyright: ignore[reportPrivateUsage] -- aiohttp has no public name
        return self.client.post(
            f"{self.url}/v1/namespaces/{self.namespace}/agents/{agent}/sessions", json={"input": session_input, **body}
        )

    async def run(self, agent: str, session_input: str = "", **body: Any) -> list[Event]:
        """Runs a session to its end."""
        async with self.open(agent, session_input, **body) as answer:
            assert answer.status == 200, await answer.text()
            return [event async for event in events(answer)]

    async def put_agent_account(self, name: str, budget: str = "default", spec: dict[str, Any] | None = None) -> None:
        """What the operator does for an Agent, `spec` its limits on sessions and users."""
        metadata = {"name": name, "namespace": self.namespace}
        environment = {"isolate": {"code": {"configMapRef": {"name": "unused"}}}}
        agent = Agent.from_dict({"metadata": metadata, "spec": {"environment": environment, **(spec or {})}})
        account = agent_account(agent, ObjectKey(self.namespace, budget))
        await self.operator.put_account(put_operation(account, "Etc/UTC"))

    async def an_agent(self, name: str, spec: dict[str, Any]) -> None:
        """An Agent with its account."""
        manifest = {"apiVersion": "ambit.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name}, "spec": spec}
        await self.kube.create(AGENTS, manifest, self.namespace)
        await self.put_agent_account(name, spec=spec)

    async def an_isolate_agent(
        self, name: str, source: str, *, of_all: dict[str, Any] | None = None, **bounds: str
    ) -> None:
        """An Agent of an isolate, with its code; `of_all` is what bounds its sessions together."""
        await self.kube.create(
            CONFIG_MAPS, {"metadata": {"name": f"{name}-code"}, "data": {"agent.js": source}}, self.namespace
        )
        code = {"configMapRef": {"name": f"{name}-code"}}
        await self.an_agent(name, {"environment": {"isolate": {"code": code}}, "bounds": bounds, **(of_all or {})})

    async def sessions_on_host(self) -> list[str]:
        """What the host itself says that it runs."""
        assert self.host is not None
        headers = {"Authorization": f"Bearer {self.host.token(sub=self.host_uid)}"}
        async with self.host.client.get(f"{self.host.url}/v1/sessions", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["sessions"]

    async def usage(self, session: str) -> wire.Usage:
        return await self.ledger.usage(wire.GetUsage(path=f"session/{self.namespace}/{session}"))

    async def ended(self, session: str) -> wire.Usage:
        """Waits until the ledger has ended the session and holds nothing for it."""

        async def over() -> bool:
            usage = await self.usage(session)
            return usage.state is wire.State.ENDED and not usage.holds

        await until(over)
        return await self.usage(session)

    async def token(self, account: str) -> str:
        """Of a service account, as `kubectl create token` makes it."""
        with suppress(AlreadyExists):
            await self.kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": account}}, self.namespace)
        made = await self.kube.create(SERVICE_ACCOUNTS, {}, self.namespace, name=account, subresource="token")
        return made["status"]["token"]


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The events of a stream, to its end."""
    name = ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Event(name, json.loads(line.removeprefix("data: ")))


def output(stream: list[Event]) -> str:
    return "".join(event.data["data"] for event in stream if event.name == "output")


@asynccontextmanager
async def a_rig(
    folder: Path, *, runtime_limit_ms: int | None = None, ledger_environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Rig]:
    """A rig without an isolate host. `runtime_limit_ms`: of the Budget `default`; `ledger_environ`: for its process."""
    config = KubeConfig.load(os.environ)
    (folder / "ledger").mkdir()
    async with (
        KubeClient(config) as kube,
        running_ledger(folder / "ledger", ledger_environ) as server,
        server.client("gateway") as ledger,
        server.client("operator") as operator,
    ):
        await install_crds(kube)
        namespace = f"sessions-{uuid.uuid4().hex[:8]}"
        await kube.create(NAMESPACES, {"metadata": {"name": namespace}})
        limits = () if runtime_limit_ms is None else (Limit(Window.LIFETIME, Resource.RUNTIME, runtime_limit_ms),)
        await operator.put_account(wire.PutAccount(path=f"budget/{namespace}/default", limits=limits))
        await kube.create(
            BUDGETS,
            {
                "apiVersion": "ambit.dev/v1alpha1",
                "kind": "Budget",
                "metadata": {"name": "default"},
                "spec": {"limits": [{"window": "Lifetime", "usd": "1"}]},
            },
            namespace,
        )
        await kube.create(
            SANDBOX_POOLS,
            {"apiVersion": "ambit.dev/v1alpha1", "kind": "SandboxPool", "metadata": {"name": "default"}, "spec": {}},
            namespace,
        )
        settings = PeopleSettings(
            listen="127.0.0.1:0",
            tls_dir=folder / "tls",
            signer_dir=folder / "signer",
            control_namespace=namespace,
            pod_name="gateway-under-test",
        )
        trusted = _write_keys(folder)
        world = WatchedWorld(kube, GatewayAccount("ambit-system", "ambit-gateway"))
        background = asyncio.create_task(world.run())
        try:
            async with serve(settings, kube, ledger, lambda: world.facts) as listener:
                await _ready(listener, world)
                administrator = KubeConfig.load(os.environ).tls
                assert administrator is not None
                administrator.load_verify_locations(cadata=trusted)
                nobody = ssl.create_default_context(cadata=trusted)
                async with (
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=administrator)) as client,
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=nobody)) as stranger,
                ):
                    yield Rig(kube, namespace, server.url, ledger, operator, listener, client, stranger, trusted)
        finally:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
            await kube.delete(NAMESPACES, namespace)


@asynccontextmanager
async def a_rig_with_host(
    folder: Path, *, runtime_limit_ms: int | None = None, ledger_environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Rig]:
    """A rig whose pool `default` has one host."""
    async with (
        a_rig(folder, runtime_limit_ms=runtime_limit_ms, ledger_environ=ledger_environ) as rig,
        a_host_of(rig, folder) as host,
    ):
        rig.host = host
        yield rig


@asynccontextmanager
async def a_host_of(rig: Rig, folder: Path, number: int = 0, **environment: str) -> AsyncGenerator[Host]:
    """A host of the pool `default`, and its Pod; `environment` adds to its settings; `rig.host_uid`: the last."""
    name = f"default-isolate-host-{number}"
    # All of 127/8 is the loopback's: each host listens on its well-known port without being in another's way.
    address = f"127.18.{os.getpid() % 250}.{next(_hosts)}"
    labels = {"ambit.dev/component": "isolate-host", "ambit.dev/pool": "default"}
    pod = await rig.kube.create(
        PODS,
        {
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "host", "image": "none"}], "automountServiceAccountToken": False},
        },
        rig.namespace,
    )
    signer = load_signer(GATEWAY_SIGNER, {"private.pem": (folder / "signer" / "private.pem").read_bytes()})
    public_key = signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    rig.host_uid = pod["metadata"]["uid"]
    async with a_host(
        AMBIT_POD_UID=rig.host_uid,
        AMBIT_HOST_LISTEN=f"{address}:8082",
        AMBIT_GATEWAY_PUBLIC_KEY=public_key,
        **environment,
    ) as host:
        host.signer = signer
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await rig.kube.patch_status(PODS, name, status, rig.namespace)
        yield host


def _write_keys(folder: Path) -> str:
    """Certificate and signer, made as the operator makes them; the answer is what clients trust."""
    state = KeyState(secrets={}, trust=None)
    writes = missing(state, datetime.now(UTC), gateway_names("ambit-system"))
    for write in writes:
        if isinstance(write, WriteSecret):
            target = folder / {GATEWAY_TLS: "tls", GATEWAY_SIGNER: "signer"}.get(write.name, "unused")
            target.mkdir(exist_ok=True)
            for name, content in write.data.items():
                (target / name).write_bytes(content)
    trust = next(write for write in writes if isinstance(write, WriteTrust))
    (folder / "trust").mkdir()
    for name, content in trust.data.items():
        (folder / "trust" / name).write_text(content)
    return trust.data[GATEWAY_CA_PEM]


async def _ready(listener: PeopleListener, world: WatchedWorld) -> None:
    async def ready() -> bool:
        return listener.not_ready() is None and world.missing is None

    await until(ready)

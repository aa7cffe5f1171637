"""A real data path on loopback: the gateway's listeners, a real ledger process, and the scripted model server."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import unquote

import anthropic
import jwt
import msgspec
import openai
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google import genai
from google.genai import types as genai_types

from ambit.api.base import ObjectKey
from ambit.gateway import bounds, data_plane
from ambit.gateway.models.openai_chat import OpenAIChat
from ambit.gateway.server.http import Request
from ambit.gateway.server.limits import Limits
from ambit.kube import Identity
from ambit.kube.reviews import POD_NAME_EXTRA, POD_UID_EXTRA
from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import LedgerClient
from ambit.policy.routes import bind_models
from tests.gateway.world import StaticWorld, a_route, an_agent
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer, Received
from tests.model_server.server import running as model_server

ORGANISATION = "budget/platform/organisation"
DAY_MS = 24 * 3600 * 1000
UNUSED_S = 0.2
"""Nothing is held any more so soon after a session's last call."""
SIGNER = Ed25519PrivateKey.generate()
SIGNER_PEM = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Reviewer:
    """Reviews tokens in the apiserver's place: `host-<uid>` is the token of the pod with that UID."""

    def __init__(self) -> None:
        self.asked = 0

    async def token_review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None:
        self.asked += 1
        kind, _, uid = token.partition("-")
        if kind != "host" or audiences != ("ambit-gateway",):
            return None
        extra = {POD_UID_EXTRA: (uid,), POD_NAME_EXTRA: ("host-0",)}
        return Identity("system:serviceaccount:team-a:host", extra=extra)


def a_token(session: str, *, key: Ed25519PrivateKey = SIGNER, **claims: object) -> str:
    """A session token as the operator mints it; `claims` replace or, with None, remove some."""
    now = int(time())
    standard = {"iss": "ambit-operator", "aud": "ambit-gateway", "sub": session, "iat": now, "exp": now + 3600}
    payload = {name: value for name, value in {**standard, **claims}.items() if value is not None}
    return jwt.encode(payload, key, algorithm="EdDSA")


@dataclass
class Gateway:
    """What tests share: everything that takes time to start."""

    plane: data_plane.DataPlane
    world: StaticWorld
    models: ModelServer
    ledger: LedgerClient
    operator: LedgerClient
    ledger_process: ledger_server.Server
    reviewer: Reviewer
    _tenants: Iterator[int] = field(default_factory=itertools.count)

    @property
    def sandbox_url(self) -> str:
        return f"http://{self.plane.sandbox_address}"

    @property
    def isolate_url(self) -> str:
        return f"http://{self.plane.isolate_address}"

    async def tenant(
        self,
        *limits: Limit,
        scripts: Mapping[str, str] | None = None,
        provider: str = "OpenAI",
        url: str | None = None,
        **route: Any,
    ) -> "Tenant":
        """A namespace of its own: a Budget with these limits, an Agent, and its models: name → the model's script."""
        namespace = f"team-{next(self._tenants)}"
        tenant = Tenant(self, namespace)
        await self.operator.put_account(wire.PutAccount(tenant.budget, limits, ORGANISATION))
        await self.operator.put_account(wire.PutAccount(tenant.agent, (), tenant.budget))
        scripts = {"smart": "tokens=5&input=100"} if scripts is None else scripts
        for name, script in scripts.items():
            model = f"scripted?tag={namespace}&{script}"
            self.world.put(a_route(f"{namespace}-{name}", url or self.models.url, model, provider=provider, **route))
        self.world.put(an_agent(namespace, "researcher", {name: f"{namespace}-{name}" for name in scripts}))
        return tenant


@dataclass
class Tenant:
    """One test's own corner: nothing that happens elsewhere changes its counts."""

    gateway: Gateway
    namespace: str

    @property
    def budget(self) -> str:
        return f"budget/{self.namespace}/research"

    @property
    def agent(self) -> str:
        return f"agent/{self.namespace}/researcher"

    def session(self, name: str = "s-1") -> str:
        return f"session/{self.namespace}/{name}"

    async def open(self, *limits: Limit, name: str = "s-1", parent: str | None = None, **attributes: str) -> str:
        """Opens a session of the Agent (or charged to another `parent`); its token."""
        all_attributes = {"agent": f"{self.namespace}/researcher", **attributes}
        opening = wire.Open(self.session(name), parent or self.agent, DAY_MS, limits, all_attributes)
        assert isinstance(await self.gateway.ledger.open(opening), wire.Opened)
        return a_token(self.session(name))

    @property
    def received(self) -> list[Received]:
        """What the model server received from this tenant."""
        tag = f"tag={self.namespace}&"
        return [one for one in self.gateway.models.received if tag.encode() in one.body or tag in unquote(one.target)]

    async def arrived(self, count: int) -> list[Received]:
        """Waits until so many calls of this tenant have reached the model server."""
        while len(self.received) < count:
            await self.gateway.models.next_arrival()
        return self.received

    def held_for(self, model: str, max_tokens: int) -> Amount:
        """What the gateway holds for a call of this model that says `hello`, in OpenAI's chat format."""
        facts = self.gateway.world.facts
        agent = facts.agents[ObjectKey(self.namespace, "researcher")]
        route = bind_models(agent.spec.models, self.namespace, facts)[0][model].backends[0]
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": max_tokens}
        call = OpenAIChat().parse(Request("POST", "/", (), msgspec.json.encode(body)))
        return bounds.bound(call, route).want

    async def usage(self, path: str | None = None) -> wire.Usage:
        return await self.gateway.ledger.usage(wire.GetUsage(path or self.session()))

    async def settled(self, path: str | None = None) -> wire.Usage:
        """The usage once nothing is held any more (the answer comes a moment before the settlement)."""
        while True:
            usage = await self.usage(path)
            if usage.held == Amount():
                return usage
            await asyncio.sleep(0.005)

    def openai(self, token: str, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=token, base_url=f"{self.gateway.sandbox_url}/openai/v1", **options)

    def gemini(self, token: str) -> genai.Client:
        options = genai_types.HttpOptions(base_url=f"{self.gateway.sandbox_url}/gemini")
        return genai.Client(api_key=token, http_options=options)

    def anthropic(self, token: str, **options: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key=token, base_url=f"{self.gateway.sandbox_url}/anthropic", **options)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncGenerator[Gateway]:
    """A gateway, its ledger and the model server, with the Budget `organisation`, without limits."""
    async with ledger_server.running(folder) as process, running_with(process, **settings) as gateway:
        yield gateway


@asynccontextmanager
async def running_with(
    process: ledger_server.Server,
    *,
    limits: Limits | None = None,
    hold_expires_in_ms: int = 60_000,
    silence_s: float = 60.0,
    drain_s: float = 0.0,
    upstream_tls: ssl.SSLContext | None = None,
    **data_plane_settings: Any,
) -> AsyncGenerator[Gateway]:
    """The same with a ledger that outlives the gateway."""
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(model_server())
        ledger = await stack.enter_async_context(process.client("gateway"))
        operator = await stack.enter_async_context(process.client("operator"))
        await operator.put_account(wire.PutAccount(ORGANISATION))
        world, reviewer = StaticWorld(), Reviewer()
        settings = data_plane.DataPlaneSettings(
            sandbox_listen="127.0.0.1:0",
            isolate_listen="127.0.0.1:0",
            session_signer_pem=SIGNER_PEM,
            hold_expires_in_ms=hold_expires_in_ms,
            silence_s=silence_s,
            drain_s=drain_s,
            limits=limits or Limits(),
            upstream_tls=upstream_tls,
            unused_s=UNUSED_S,
            **data_plane_settings,
        )
        async with data_plane.serve(settings, ledger, world, reviewer) as plane:
            yield Gateway(plane, world, models, ledger, operator, process, reviewer)


def error_body(error: openai.APIStatusError | anthropic.APIStatusError) -> dict[str, Any]:
    """The body of a refusal as the SDK gives it."""
    return msgspec.convert(error.body, dict[str, Any])


def usd(amount_nanos: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.USD, amount_nanos)


def tokens(amount: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.TOKENS, amount)


def calls(amount: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.MODEL_CALLS, amount)

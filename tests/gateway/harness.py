"""A real data path on loopback: the gateway's listeners, a real ledger process, and the scripted model server."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import anthropic
import jwt
import openai
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ambit.gateway import data_plane
from ambit.gateway.server.limits import Limits
from ambit.kube import Identity
from ambit.kube.reviews import POD_NAME_EXTRA, POD_UID_EXTRA
from ambit.ledger import wire
from ambit.ledger.amounts import Limit, Resource, Window
from ambit.ledger.client import LedgerClient
from ambit.ledger.wire import Usage
from tests.gateway.world import TEAM, StaticWorld, a_route, an_agent
from tests.ledger import server as ledger_server
from tests.model_server.server import ModelServer
from tests.model_server.server import running as model_server

ORGANISATION, BUDGET, AGENT = "budget/platform/organisation", f"budget/{TEAM}/research", f"agent/{TEAM}/researcher"
SESSION = f"session/{TEAM}/s-1"
DAY_MS = 24 * 3600 * 1000
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


def a_token(session: str = SESSION, *, key: Ed25519PrivateKey = SIGNER, **claims: object) -> str:
    """A session token as the operator mints it; `claims` replace or, with None, remove some."""
    now = int(time())
    standard = {"iss": "ambit-operator", "aud": "ambit-gateway", "sub": session, "iat": now, "exp": now + 3600}
    payload = {name: value for name, value in {**standard, **claims}.items() if value is not None}
    return jwt.encode(payload, key, algorithm="EdDSA")


@dataclass
class Gateway:
    """What a test sees of it."""

    plane: data_plane.DataPlane
    world: StaticWorld
    models: ModelServer
    ledger: LedgerClient
    operator: LedgerClient
    ledger_process: ledger_server.Server
    reviewer: Reviewer

    @property
    def url(self) -> str:
        return f"http://{self.plane.sandbox_address}"

    def serve_models(self, behaviours: Mapping[str, str], provider: str = "OpenAI", **route: str) -> None:
        """Gives the Agent these models: its own name → the script of the model server (`tokens=3`)."""
        for name, script in behaviours.items():
            model = f"scripted?{script}" if script else "scripted"
            self.world.put(a_route(name, self.models.url, model, provider=provider, **route))  # type: ignore[arg-type]
        self.world.put(an_agent("researcher", {name: name for name in behaviours}))

    async def set_budget(self, *limits: Limit, path: str = BUDGET, parent: str | None = ORGANISATION) -> None:
        await self.operator.put_account(wire.PutAccount(path, limits, parent))

    async def open(self, *limits: Limit, path: str = SESSION, **attributes: str) -> str:
        """Opens a session of the Agent; its token."""
        opening = wire.Open(path, AGENT, DAY_MS, limits, {"agent": f"{TEAM}/researcher", **attributes})
        opened = await self.ledger.open(opening)
        assert isinstance(opened, wire.Opened)
        return a_token(path)

    async def usage(self, path: str = SESSION) -> Usage:
        return await self.ledger.usage(wire.GetUsage(path))

    async def settled(self, path: str = SESSION) -> Usage:
        """The usage once nothing is held any more."""
        while (usage := await self.usage(path)).holds:
            pass
        return usage

    def openai(self, token: str, **options: object) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=token, base_url=f"{self.url}/openai/v1", **options)  # type: ignore[arg-type]

    def anthropic(self, token: str, **options: object) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key=token, base_url=f"{self.url}/anthropic", **options)  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    folder: Path,
    *,
    limits: Limits | None = None,
    hold_expires_in_ms: int = 60_000,
    silence_s: float = 60.0,
    drain_s: float = 0.0,
) -> AsyncGenerator[Gateway]:
    """A gateway with an Agent `team-a/researcher` under the Budgets `organisation` and `research`, without limits."""
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(ledger_server.running(folder))
        models = await stack.enter_async_context(model_server())
        ledger = await stack.enter_async_context(process.client("gateway"))
        operator = await stack.enter_async_context(process.client("operator"))
        for path, parent in ((ORGANISATION, None), (BUDGET, ORGANISATION), (AGENT, BUDGET)):
            await operator.put_account(wire.PutAccount(path, (), parent))
        world, reviewer = StaticWorld(), Reviewer()
        settings = data_plane.DataPlaneSettings(
            sandbox_listen="127.0.0.1:0",
            isolate_listen="127.0.0.1:0",
            session_signer_pem=SIGNER_PEM,
            hold_expires_in_ms=hold_expires_in_ms,
            silence_s=silence_s,
            drain_s=drain_s,
            limits=limits or Limits(),
        )
        async with data_plane.serve(settings, ledger, world, reviewer) as plane:
            yield Gateway(plane, world, models, ledger, operator, process, reviewer)


def usd(amount_nanos: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.USD, amount_nanos)


def tokens(amount: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.TOKENS, amount)


def calls(amount: int, window: Window = Window.LIFETIME) -> Limit:
    return Limit(window, Resource.MODEL_CALLS, amount)

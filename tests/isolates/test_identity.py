"""Who may talk to a host, and in whose name an agent talks to the gateway."""

import time
from collections.abc import Callable

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ambit.isolates.headers import from_agent
from ambit.isolates.identity import GatewayIdentity, Unauthenticated
from ambit.isolates.outside import route
from tests.isolates.host import POD_TOKEN, POD_UID, Host

SIGNER = Ed25519PrivateKey.generate()
PUBLIC_KEY = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
GATEWAY = URL("http://10.0.0.9:8081")


def a_token(signer: Ed25519PrivateKey | str = SIGNER, algorithm: str = "EdDSA", **claims: object) -> str:
    """As the gateway signs them, but for what is given; a claim that is None is left out."""
    now = int(time.time())
    default = {"aud": "ambit-isolate-host", "sub": POD_UID, "iat": now, "exp": now + 60}
    present = {name: value for name, value in {**default, **claims}.items() if value is not None}
    return jwt.encode(present, signer, algorithm=algorithm)


def in_s(seconds: int) -> int:
    return int(time.time()) + seconds


def test_the_gateway_is_let_in() -> None:
    GatewayIdentity(PUBLIC_KEY, POD_UID).check(f"Bearer {a_token()}")


@pytest.mark.parametrize("header", [None, "", "Basic Zm9vOmJhcg==", "Bearer", "Bearer "])
def test_nobody_is_let_in_without_a_token(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="no bearer token"):
        GatewayIdentity(PUBLIC_KEY, POD_UID).check(header)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (lambda: "not.a.token", "Invalid"),
        (lambda: a_token(Ed25519PrivateKey.generate()), "Signature"),
        (lambda: a_token(aud="ambit-gateway"), "Audience"),
        (lambda: a_token(aud=None), "aud"),
        (lambda: a_token(exp=in_s(-60)), "expired"),
        (lambda: a_token(exp=in_s(3600)), "lives"),
        (lambda: a_token(exp=None), "exp"),
        (lambda: a_token(sub="another-pod"), "another pod"),
        (lambda: a_token("", "none"), "alg"),
        (lambda: a_token("k" * 32, "HS256"), "alg"),
    ],
)
def test_nobody_is_let_in_with_another(token: Callable[[], str], why: str) -> None:
    with pytest.raises(Unauthenticated, match=why):
        GatewayIdentity(PUBLIC_KEY, POD_UID).check(f"Bearer {token()}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions"),
        ("GET", "/v1/sessions/team-a/s-1"),
        ("POST", "/v1/sessions/team-a/s-1"),
        ("DELETE", "/v1/sessions/team-a/s-1"),
        ("PUT", "/v1/sessions/team-a/s-1/runtime"),
        ("PUT", "/v1/code/" + "0" * 64),
    ],
)
async def test_every_call_needs_the_gateways_token(host: Host, method: str, path: str) -> None:
    for token in (None, host.token(aud="ambit-gateway"), host.token(sub="another-pod"), host.token(exp=1)):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with host.client.request(method, host.url + path, headers=headers) as answer:
            assert answer.status == 401


FORGER = """
export default {
  async fetch(request, env) {
    const headers = {
      "Authorization": "Bearer stolen", "X-Api-Key": "stolen", "X-Ambit-Session": "team-a/s-2",
      "x-ambit-target": "http://elsewhere.example/", "x-own": "kept",
    };
    const answer = await fetch(env.OPENAI_BASE_URL + "/chat/completions", { method: "POST", body: "{}", headers });
    return new Response(await answer.text());
  },
};
"""


async def test_an_agent_cannot_say_who_it_is(host: Host) -> None:
    await host.open("team-a/s-1", FORGER)
    [asked] = host.gateway.asked
    assert (asked.method, asked.target, asked.body) == ("POST", "/openai/v1/chat/completions", b"{}")
    assert asked.headers["authorization"] == f"Bearer {POD_TOKEN}"
    assert asked.headers["x-own"] == "kept"
    said = {name: value for name, value in asked.headers.items() if name.startswith("x-a")}
    assert said == {"x-ambit-session": "team-a/s-1"}


async def test_a_shard_can_name_only_sessions_that_run_on_it(host: Host) -> None:
    """As a shard would that an agent has taken over."""
    asked: list[int] = []

    async def meanwhile(_: web.BaseRequest) -> web.StreamResponse:
        out = str(host.state_dir / "shard-1" / "out.sock")
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(out)) as shard:
            for session in ("team-a/s-1", "team-a/s-2", "team-b/s-1", ""):
                headers = {"x-ambit-session": session, "x-ambit-target": "http://elsewhere.example/"}
                async with shard.get("http://outside/egress", headers=headers) as answer:
                    asked.append(answer.status)
                    text = await answer.text()
                    assert ("HostNotAllowed" if session == "team-a/s-1" else "UnknownSession") in text
                async with shard.get("http://outside/code", headers=headers) as answer:
                    assert answer.status == (200 if session == "team-a/s-1" else 404)
        return web.Response(text="done")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith("/"):
            return await meanwhile(request)
        return web.json_response({"reason": "HostNotAllowed"}, status=403)

    host.gateway.answer = answer
    assert (await host.open("team-a/s-1", FORGER)).body == "done"
    assert asked == [403, 403, 403, 403]
    assert [one.target for one in host.gateway.asked] == ["/openai/v1/chat/completions", "http://elsewhere.example/"]


@pytest.mark.parametrize(
    ("target", "url", "proxied"),
    [
        ("http://gateway.ambit/openai/v1/models?a=%2F&b", "http://10.0.0.9:8081/openai/v1/models?a=%2F&b", False),
        ("http://gateway.ambit:80/x", "http://10.0.0.9:8081/x", False),
        ("http://gateway.ambit//elsewhere.example/x", "http://10.0.0.9:8081//elsewhere.example/x", False),
        ("http://gateway.ambit:8080/x", "http://gateway.ambit:8080/x", True),
        ("http://gateway.ambit.elsewhere.example/", "http://gateway.ambit.elsewhere.example/", True),
        ("http://gateway.ambit@elsewhere.example/", "http://elsewhere.example/", True),
        ("https://gateway.ambit/x", "http://gateway.ambit:443/x", True),
        ("https://api.example.com/x", "http://api.example.com:443/x", True),
        ("http://[fd00::1]/", "http://[fd00::1]/", True),
    ],
)
def test_every_address_leads_to_the_gateway(target: str, url: str, proxied: bool) -> None:
    leads_to, proxy = route(URL(target, encoded=True), GATEWAY)
    assert (str(leads_to), proxy) == (url, GATEWAY if proxied else None)


def test_headers_of_one_connection_are_not_passed_on() -> None:
    headers = CIMultiDictProxy(
        CIMultiDict({"Connection": "close, X-Hop", "X-Hop": "1", "Upgrade": "websocket", "TE": "trailers", "X-On": "1"})
    )
    assert dict(from_agent(headers)) == {"X-On": "1"}

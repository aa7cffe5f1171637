"""Who calls: session tokens for sandboxes, projected tokens and placement for isolate hosts; nothing else counts."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from time import time
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.gateway.harness import SIGNER_PEM, Gateway, Tenant, a_token

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = {"model": "smart", "messages": [{"role": "user", "content": "hello"}]}
PATH = "/openai/v1/chat/completions"


async def post(url: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.post(PATH, json=CALL, headers=headers)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"session:{password}".encode()).decode()


@pytest.mark.parametrize("place", ["bearer", "lower case", "x-api-key", "x-goog-api-key", "proxy"])
async def test_a_session_token_is_taken_wherever_clients_put_their_key(gateway: Gateway, place: str) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    headers = {
        "bearer": {"Authorization": f"Bearer {token}"},
        "lower case": {"authorization": f"bearer {token}"},
        "x-api-key": {"x-api-key": token},
        "x-goog-api-key": {"x-goog-api-key": token},
        "proxy": {"Proxy-Authorization": basic(token)},
    }[place]
    assert (await post(gateway.sandbox_url, headers)).status_code == 200


def unsigned(session: str) -> str:
    now = int(time())
    claims = {"iss": "ambit-operator", "aud": "ambit-gateway", "sub": session, "iat": now, "exp": now + 60}

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def with_the_public_key_as_a_secret(session: str) -> str:
    now = int(time())
    claims = {"iss": "ambit-operator", "aud": "ambit-gateway", "sub": session, "iat": now, "exp": now + 60}

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(SIGNER_PEM, signed, hashlib.sha256).digest())).decode()


FORGED: dict[str, Callable[[str], str]] = {
    "another key": lambda s: a_token(s, key=Ed25519PrivateKey.generate()),
    "no signature": unsigned,
    "the public key as a shared secret": with_the_public_key_as_a_secret,
    "another issuer": lambda s: a_token(s, iss="somebody"),
    "another audience": lambda s: a_token(s, aud="ambit-isolate-host"),
    "expired": lambda s: a_token(s, exp=int(time()) - 1),
    "no expiry": lambda s: a_token(s, exp=None),
    "no session": lambda s: a_token(s, sub=None),
    "an account that is no session": lambda s: a_token("agent/a/b"),
    "a path with more parts": lambda s: a_token(s + "/x"),
    "not a token": lambda s: "x",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_or_expired_token_is_401_and_final(gateway: Gateway, forge: Callable[[str], str]) -> None:
    tenant = await gateway.tenant()
    await tenant.open()
    answer = await post(gateway.sandbox_url, {"Authorization": f"Bearer {forge(tenant.session())}"})
    assert (answer.status_code, answer.headers["x-ambit-reason"]) == (401, "Unauthenticated")
    assert answer.headers["x-should-retry"] == "false"
    assert tenant.received == []


async def test_a_token_that_expires_while_it_is_in_use_is_refused_from_then_on(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    await tenant.open()
    expires_at, headers = 0, dict[str, str]()
    for lives_s in (2, 4, 8, 16):  # longer where the machine is so busy that it expired before it was used
        expires_at = int(time()) + lives_s
        headers = {"Authorization": f"Bearer {a_token(tenant.session(), exp=expires_at)}"}
        if (await post(gateway.sandbox_url, headers)).status_code == 200:
            break
    else:
        pytest.fail("it was never taken")
    await asyncio.sleep(expires_at - time())
    assert (await post(gateway.sandbox_url, headers)).status_code == 401


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic Og=="}, {"x-api-key": ""}, {"x-ambit-session": "a/b"}]
)
async def test_no_identity_is_401(gateway: Gateway, headers: dict[str, str]) -> None:
    assert (await post(gateway.sandbox_url, headers)).status_code == 401
    assert (await post(gateway.isolate_url, headers)).status_code == 401


async def test_two_keys_at_once_are_no_key(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open()
    async with httpx.AsyncClient(base_url=gateway.sandbox_url) as client:
        twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
        assert (await client.post(PATH, json=CALL, headers=twice)).status_code == 401


async def test_a_session_whose_account_arrives_a_moment_later_is_waited_for(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    call = asyncio.ensure_future(post(gateway.sandbox_url, {"Authorization": f"Bearer {a_token(tenant.session())}"}))
    await asyncio.sleep(0.3)
    assert not call.done()
    await tenant.open()
    assert (await call).status_code == 200


async def test_a_session_that_is_unknown_for_long_is_503_never_401(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambit.gateway.identity.session_directory.WAIT_FOR_ACCOUNT_S", 0.2)
    answer = await post(gateway.sandbox_url, {"Authorization": f"Bearer {a_token('session/nobody/s-1')}"})
    assert (answer.status_code, answer.headers["x-ambit-reason"]) == (503, "NotYetKnown")
    assert answer.headers["retry-after"] == "5"


# -- isolate hosts ----------------------------------------------------------------


def host(tenant: Tenant, uid: str, session: str = "s-1", **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer host-{uid}", "x-ambit-session": f"{tenant.namespace}/{session}", **more}


async def test_a_host_speaks_for_the_sessions_that_were_placed_on_its_pod(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    await tenant.open(hostPod="uid1", environment="isolate")
    answer = await post(gateway.isolate_url, host(tenant, "uid1"))
    assert answer.status_code == 200
    assert (await tenant.settled()).spent.model_calls == 1


async def test_a_host_speaks_for_no_session_of_another_pod_and_for_no_container(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    await tenant.open(hostPod="uid1", environment="isolate")
    await tenant.open(name="s-2", environment="container")
    for headers in (host(tenant, "uid2"), host(tenant, "uid1", "s-2")):
        answer = await post(gateway.isolate_url, headers)
        assert (answer.status_code, answer.headers["x-ambit-reason"]) == (403, "Forbidden")
    assert tenant.received == []


async def test_a_session_token_opens_nothing_at_the_hosts_listener_nor_a_hosts_token_at_the_sandboxes(
    gateway: Gateway,
) -> None:
    tenant = await gateway.tenant()
    token = await tenant.open(hostPod="uid1")
    named = {"x-ambit-session": f"{tenant.namespace}/s-1"}
    assert (await post(gateway.isolate_url, {"Authorization": f"Bearer {token}", **named})).status_code == 401
    assert (await post(gateway.sandbox_url, host(tenant, "uid1"))).status_code == 401


@pytest.mark.parametrize("session", ["", "s-1", "a/b/c", "/s-1", "team/"])
async def test_a_host_has_to_name_a_session(gateway: Gateway, session: str) -> None:
    headers = {"Authorization": "Bearer host-uid1", "x-ambit-session": session}
    assert (await post(gateway.isolate_url, headers)).status_code == 401


async def test_reviews_are_kept_for_a_while(gateway: Gateway) -> None:
    tenant = await gateway.tenant()
    await tenant.open(hostPod="uid7")
    asked = gateway.reviewer.asked
    for _ in range(3):
        assert (await post(gateway.isolate_url, host(tenant, "uid7"))).status_code == 200
    assert gateway.reviewer.asked == asked + 1

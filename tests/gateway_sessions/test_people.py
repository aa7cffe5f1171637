"""Who may open, see and kill sessions: tokens, certificates, RBAC, and what those are told who may not."""

import datetime
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.sessions.people import by_certificate
from ambit.kube import Identity
from ambit.kube.resources import AGENTS, ROLE_BINDINGS, ROLES
from tests.gateway_sessions.rig import Rig, a_rig_with_host
from tests.isolates.host import until

ECHO = "export default { async fetch(request) { return new Response(await request.text()); } }"
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)


def a_certificate(
    *,
    user: str = "alice",
    groups: tuple[str, ...] = ("team-a", "team-b"),
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
    ends: datetime.datetime = NOW + datetime.timedelta(hours=1),
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    if user:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=2000))
        .not_valid_after(ends)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(key, hashes.SHA256()), key


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def test_a_certificate_names_user_and_groups_as_kubernetes_reads_them() -> None:
    certificate, _ = a_certificate()
    assert by_certificate(der(certificate), NOW) == Identity("alice", ("team-a", "team-b", "system:authenticated"))


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        (a_certificate(usage=ExtendedKeyUsageOID.SERVER_AUTH)[0], "not meant for clients"),
        (a_certificate(usage=None)[0], "not meant for clients"),
        (a_certificate(ends=NOW - datetime.timedelta(seconds=1))[0], "not valid at this time"),
        (a_certificate(user="")[0], "names no user"),
    ],
)
def test_a_certificate_that_is_not_good_for_this_is_refused(certificate: x509.Certificate, says: str) -> None:
    with pytest.raises(RefusedCall, match=says) as refusal:
        by_certificate(der(certificate), NOW)
    assert refusal.value.status == 401


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with a_rig_with_host(tmp_path_factory.mktemp("rig")) as made:
        await made.an_isolate_agent("echo", ECHO)
        await made.an_isolate_agent("other", ECHO)
        yield made


in_module = pytest.mark.asyncio(loop_scope="module")


async def a_role(rig: Rig, account: str, verbs: list[str], **rule: Any) -> None:
    """Lets a service account do this with sessions."""
    rules = [{"apiGroups": ["ambit.dev"], "resources": ["agents/sessions"], "verbs": verbs} | rule]
    await rig.kube.create(ROLES, {"metadata": {"name": account}, "rules": rules}, rig.namespace)
    binding = {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": rig.namespace}],
    }
    await rig.kube.create(ROLE_BINDINGS, binding, rig.namespace)


async def ask(rig: Rig, method: str, url: str, token: str | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
    """As somebody without a certificate."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with rig.stranger.request(method, url, headers=headers, **more) as answer:
        if answer.content_type != "application/json":
            await answer.read()
            return answer.status, {}
        return answer.status, await answer.json()


@pytest.mark.integration
@in_module
async def test_without_identity_or_with_a_false_one_it_is_401(rig: Rig) -> None:
    for token in (None, "no such token"):
        status, body = await ask(rig, "GET", rig.sessions_url(), token)
        assert (status, body["reason"]) == (401, "Unauthenticated")
        assert body["message"]


@pytest.mark.integration
@in_module
async def test_a_token_opens_lists_and_kills_as_far_as_its_role_goes(rig: Rig) -> None:
    opens = f"{rig.url}/v1/namespaces/{rig.namespace}/agents/echo/sessions"
    token = await rig.token("caller")
    status, body = await ask(rig, "POST", opens, token)
    assert (status, body["reason"]) == (403, "Forbidden")
    assert f"system:serviceaccount:{rig.namespace}:caller" in body["message"]

    await a_role(rig, "caller", ["create"], resourceNames=["echo"])

    async def allowed() -> bool:
        return (await ask(rig, "POST", opens, token))[0] == 200

    await until(allowed)  # the authorizer takes a moment to see the Role
    status, _ = await ask(rig, "POST", opens.replace("/echo/", "/other/"), token)
    assert status == 403
    status, _ = await ask(rig, "GET", rig.sessions_url(), token)
    assert status == 403
    session = (await rig.run("echo"))[0].data["id"]
    for method in ("GET", "DELETE"):
        assert (await ask(rig, method, rig.sessions_url(session), token))[0] == 403


@pytest.mark.integration
@in_module
async def test_who_may_only_look_does_not_kill(rig: Rig) -> None:
    token = await rig.token("viewer")
    await a_role(rig, "viewer", ["get", "list"])
    session = (await rig.run("echo"))[0].data["id"]

    async def allowed() -> bool:
        return (await ask(rig, "GET", rig.sessions_url(session), token))[0] == 200

    await until(allowed)
    assert (await ask(rig, "GET", rig.sessions_url(), token))[0] == 200
    assert (await ask(rig, "DELETE", rig.sessions_url(session), token))[0] == 403


@pytest.mark.integration
@in_module
async def test_who_may_not_look_is_not_told_what_there_is(rig: Rig) -> None:
    token = await rig.token("nosy")
    assert (await ask(rig, "GET", rig.sessions_url("s-aaaaaaaaaaaaaaaa"), token))[0] == 403
    async with rig.client.get(rig.sessions_url("s-aaaaaaaaaaaaaaaa")) as answer:
        assert answer.status == 404
        assert (await answer.json())["reason"] == "NotFound"


@pytest.mark.integration
@in_module
async def test_a_certificate_of_another_authority_is_worth_nothing(rig: Rig, tmp_path: Path) -> None:
    certificate, key = a_certificate(user="system:admin", groups=("system:masters",))
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "own.pem").write_bytes(pem)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "own.pem")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as impostor:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            async with impostor.get(rig.sessions_url()) as answer:
                assert answer.status == 200


@pytest.mark.integration
@in_module
@pytest.mark.parametrize(
    ("agent", "body", "status", "reason", "says"),
    [
        ("absent", {}, 404, "NotFound", "kubectl get agents"),
        ("echo", {"bounds": {"runtime": "31m"}}, 400, "Malformed", "bounds may only be tightened"),
        ("echo", {"bounds": {"runtime": "soon"}}, 400, "Malformed", "such as 30m"),
        (
            "echo",
            {"bounds": {"usd": "abc"}},
            400,
            "Malformed",
            "bounds: usd: 'abc' is not an amount that Ambit can count",
        ),
        ("echo", {"bounds": {"usd": "abc"}}, 400, "Malformed", "write US dollars of zero or more, such as 2.50"),
        ("echo", {"bounds": {"tokens": "abc"}}, 400, "Malformed", "such as 100, 500k or 2M"),
        ("echo", {"bounds": {"speed": "5"}}, 400, "Malformed", "no bound 'speed': write one of runtime, modelCalls,"),
        ("echo", {"inputs": "x"}, 400, "Malformed", "inputs"),
        ("poor", {}, 403, "AgentNotAccepted", "BudgetNotFound"),
        ("empty", {}, 403, "AgentNotAccepted", "CodeNotFound"),
    ],
)
async def test_what_cannot_be_opened_says_why(
    rig: Rig, agent: str, body: dict[str, Any], status: int, reason: str, says: str
) -> None:
    code = {"isolate": {"code": {"configMapRef": {"name": "no-such-code"}}}}
    specs = {"poor": {"budgetRef": {"name": "none"}, "environment": code}, "empty": {"environment": code}}
    if agent in specs:
        manifest = {"apiVersion": "ambit.dev/v1alpha1", "kind": "Agent", "metadata": {"name": agent}}
        await rig.kube.create(AGENTS, manifest | {"spec": specs[agent]}, rig.namespace)
    async with rig.open(agent, **body) as answer:
        refusal = await answer.json()
        assert (answer.status, refusal["reason"]) == (status, reason)
        assert says in refusal["message"]
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.integration
@in_module
async def test_bounds_that_are_tighter_hold(rig: Rig) -> None:
    opened = (await rig.run("echo", bounds={"runtime": "7s", "modelCalls": "3"}))[0]
    assert opened.data["expiresInMs"] == 7_000
    limits = {limit.resource.value: limit.limit for limit in (await rig.usage(opened.data["id"])).limits}
    assert limits == {"runtime": 7_000, "modelCalls": 3, "tokens": 2_000_000, "usd": 5_000_000_000}

"""TLS to providers: the certificate is checked, the connection kept and used again."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client import REGISTRY

from ambit.ledger.amounts import Amount
from tests.gateway import harness
from tests.model_server.server import running as model_server

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def a_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "provider.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


async def test_calls_go_over_tls_to_a_server_that_proves_itself_and_to_no_other(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path)
    serving = serving_with(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    async with model_server(tls=serving) as provider:
        async with harness.running(tmp_path, upstream_tls=trusting) as gateway:
            tenant = await gateway.tenant(url=provider.url)
            async with tenant.openai(await tenant.open()) as client:
                for _ in range(3):
                    await client.chat.completions.create(model="smart", messages=HELLO)
            assert len(provider.received) == 3
            assert (await tenant.settled()).spent.model_calls == 3
        (tmp_path / "other").mkdir()
        async with harness.running(tmp_path / "other") as gateway:  # with the system's authorities
            tenant = await gateway.tenant(url=provider.url)
            async with tenant.openai(await tenant.open(), max_retries=0) as client:
                with pytest.raises(openai.InternalServerError, match="certificate verify failed"):
                    await client.chat.completions.create(model="smart", messages=HELLO)
            assert len(provider.received) == 3
            assert (await tenant.settled()).spent == Amount()


async def test_a_connection_is_used_again_and_a_server_of_an_unknown_authority_is_fallen_back_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambit.gateway.server.upstream.IDLE_S", 600)  # however long the machine takes between two calls
    (tmp_path / "other").mkdir()
    certificate, unknown = a_certificate(tmp_path), a_certificate(tmp_path / "other")
    async with (
        model_server(tls=serving_with(certificate)) as known,
        model_server(tls=serving_with(unknown)) as stranger,
    ):
        trusting = ssl.create_default_context(cafile=certificate)
        async with harness.running(tmp_path, upstream_tls=trusting) as gateway:
            spare = {"name": "spare", "url": known.url, "priority": 1}
            tenant = await gateway.tenant(url=stranger.url, more=[spare])
            before = connections()
            async with tenant.openai(await tenant.open(), max_retries=0) as client:
                for _ in range(4):
                    await client.chat.completions.create(model="smart", messages=HELLO)
            assert (len(known.received), len(stranger.received)) == (4, 0)
            made = {result: count - before[result] for result, count in connections().items()}
            assert made == {"New": 1, "Reused": 3, "Failed": 4}
            assert len({one.peer for one in known.received}) == 1
            assert (await tenant.settled()).spent.model_calls == 4


def serving_with(certificate: Path) -> ssl.SSLContext:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    return serving


def connections() -> dict[str, float]:
    """How many connections to providers this process made, and used again."""
    name = "ambit_gateway_upstream_connections_total"
    return {kind: REGISTRY.get_sample_value(name, {"result": kind}) or 0.0 for kind in ("New", "Reused", "Failed")}

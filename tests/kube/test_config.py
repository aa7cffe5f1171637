"""Where the apiserver is and how we prove ourselves: kubeconfigs and projected tokens."""

import base64
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ambit.kube import ConfigError, KubeConfig
from ambit.kube.config import TOKEN_MAX_AGE_S, TokenFile, in_cluster


def a_certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def a_kubeconfig(path: Path, *, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, str]:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return {"KUBECONFIG": str(path)}


def test_a_kubeconfig_with_client_certificate_gives_a_tls_identity(tmp_path: Path) -> None:
    certificate, key = a_certificate()
    (tmp_path / "ca.pem").write_bytes(certificate)
    environ = a_kubeconfig(
        tmp_path / "config",
        cluster={"server": "https://127.0.0.1:6443/", "certificate-authority": "ca.pem"},
        user={
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        },
    )
    config = KubeConfig.load(environ)
    assert (config.server, config.namespace, config.token) == ("https://127.0.0.1:6443", "team-a", None)
    assert config.tls is not None
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert config.tls.cert_store_stats()["x509"] == 1  # the kubeconfig's authority instead of the system's


def test_a_kubeconfig_with_a_token_file_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    environ = a_kubeconfig(
        tmp_path / "config", cluster={"server": "http://127.0.0.1:8080"}, user={"tokenFile": "token"}
    )
    config = KubeConfig.load(environ)
    assert config.tls is None
    assert config.token is not None
    assert config.token() == "abc"


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ({"exec": {"command": "aws"}}, "needs a token or a client certificate"),
        ({"client-certificate": "missing.pem", "client-key": "missing.pem"}, "client-certificate cannot be read"),
        ({"client-certificate-data": "?"}, "client-certificate cannot be read"),
    ],
)
def test_an_unusable_user_says_what_is_needed(tmp_path: Path, user: dict[str, Any], says: str) -> None:
    environ = a_kubeconfig(tmp_path / "config", cluster={"server": "https://127.0.0.1:6443"}, user=user)
    with pytest.raises(ConfigError, match=says):
        KubeConfig.load(environ)


def test_a_missing_kubeconfig_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set KUBECONFIG"):
        KubeConfig.load({"KUBECONFIG": str(tmp_path / "absent")})


def test_a_context_that_names_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("current-context: gone\ncontexts: []\n")
    with pytest.raises(ConfigError, match="no entry named 'gone'"):
        KubeConfig.load({"KUBECONFIG": str(tmp_path / "config")})


def test_in_a_cluster_the_service_account_is_the_identity(tmp_path: Path) -> None:
    certificate, _ = a_certificate()
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "token").write_text("projected")
    (tmp_path / "namespace").write_text("ambit-system")
    config = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT_HTTPS": "6443"}, tmp_path)
    assert (config.server, config.namespace) == ("https://[fd00::1]:6443", "ambit-system")
    assert config.token is not None
    assert config.token() == "projected"


def test_a_projected_token_is_read_again_when_a_minute_old(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "token"
    path.write_text("first")
    token = TokenFile(path, clock=lambda: now)
    assert token() == "first"
    path.write_text("second")
    now = TOKEN_MAX_AGE_S - 0.001
    assert token() == "first"
    now = TOKEN_MAX_AGE_S
    assert token() == "second"

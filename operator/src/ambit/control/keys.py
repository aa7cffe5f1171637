"""The control plane's keys: what is missing, and what to make (docs/design/0001-interfaces.md, "Keys").

Made once and never replaced, but for the gateway's certificate: it lasts a year and is renewed when a third of that is
left. Delete one to have a new one made. The authority that signs the certificate signs only that one, and its key is
never kept: nobody, the operator included, can sign another in its name. On renewal the old authority stays in the trust
bundle until its certificate has ended, so that clients and gateway need not change over at the same moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambit.api.names import GATEWAY, GATEWAY_CA_PEM

SESSION_SIGNER = "ambit-session-signer"
GATEWAY_SIGNER = "ambit-gateway-signer"
GATEWAY_TLS = "ambit-gateway-tls"
SECRETS = (SESSION_SIGNER, GATEWAY_SIGNER, GATEWAY_TLS)

PRIVATE_PEM = "private.pem"
SESSION_SIGNER_PEM = "session-signer.pem"
GATEWAY_SIGNER_PEM = "gateway-signer.pem"

CERTIFICATE_LIFE = timedelta(days=365)
RENEW_WHEN_LEFT = CERTIFICATE_LIFE / 3


@dataclass(frozen=True)
class KeyState:
    """What lies in the control plane's namespace; None: the object is not there."""

    secrets: Mapping[str, Mapping[str, bytes] | None]
    trust: Mapping[str, str] | None


@dataclass(frozen=True)
class WriteSecret:
    """Make the Secret `name`, or, with `replace`, change it (a renewed certificate)."""

    name: str
    data: Mapping[str, bytes]
    replace: bool


@dataclass(frozen=True)
class WriteTrust:
    """Make or change the ConfigMap `ambit-trust`."""

    data: Mapping[str, str]
    replace: bool


class KeyDamaged(ValueError):
    """A Secret is there but cannot be used. Nothing is replaced: a person decides."""

    def __init__(self, secret: str, why: str) -> None:
        super().__init__(f"Secret {secret}: {why}; delete it to have a new one made")
        self.secret = secret


def missing(state: KeyState, now: datetime, names: tuple[str, ...]) -> list[WriteSecret | WriteTrust]:
    """What to write so that every key is there and public parts match private ones; empty at steady state.

    `names`: the DNS names and addresses by which clients know the gateway. Raises KeyDamaged.
    """
    writes: list[WriteSecret | WriteTrust] = []
    publics: dict[str, str] = {}
    for secret, public in ((SESSION_SIGNER, SESSION_SIGNER_PEM), (GATEWAY_SIGNER, GATEWAY_SIGNER_PEM)):
        data = state.secrets.get(secret)
        if data is None:
            data = {PRIVATE_PEM: _new_signer()}
            writes.append(WriteSecret(secret, data, replace=False))
        publics[public] = public_pem(secret, data)

    kept = state.secrets.get(GATEWAY_TLS)
    if kept is None or _left(kept, now) < RENEW_WHEN_LEFT:
        authority, certificate, key = _new_certificate(now, names)
        writes.append(WriteSecret(GATEWAY_TLS, {"tls.crt": certificate, "tls.key": key}, replace=kept is not None))
        chain = certificate
    else:
        chain = kept["tls.crt"]
        authority = _authority_of(chain)
    trusted = _still_valid((state.trust or {}).get(GATEWAY_CA_PEM, ""), now, besides=authority)
    publics[GATEWAY_CA_PEM] = (authority + trusted).decode()

    if state.trust is None or any(state.trust.get(name) != value for name, value in publics.items()):
        writes.append(WriteTrust(publics, replace=state.trust is not None))
    return writes


def load_signer(secret: str, data: Mapping[str, bytes]) -> Ed25519PrivateKey:
    """The private key in a signer's Secret. Raises KeyDamaged."""
    try:
        key = serialization.load_pem_private_key(data[PRIVATE_PEM], password=None)
    except KeyError:
        raise KeyDamaged(secret, f"it has no key {PRIVATE_PEM}") from None
    except ValueError as unreadable:
        raise KeyDamaged(secret, f"{PRIVATE_PEM} is no PEM private key") from unreadable
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyDamaged(secret, f"{PRIVATE_PEM} is no Ed25519 key")
    return key


def public_pem(secret: str, data: Mapping[str, bytes]) -> str:
    """The public half of a signer's Secret, as PEM. Raises KeyDamaged."""
    public = load_signer(secret, data).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _new_signer() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _left(tls: Mapping[str, bytes], now: datetime) -> timedelta:
    try:
        chain = x509.load_pem_x509_certificates(tls["tls.crt"])
    except (KeyError, ValueError) as unreadable:
        raise KeyDamaged(GATEWAY_TLS, "tls.crt is no PEM certificate") from unreadable
    return chain[0].not_valid_after_utc - now


def _authority_of(chain: bytes) -> bytes:
    """The authority's certificate, which `_new_certificate` puts last in the chain."""
    return x509.load_pem_x509_certificates(chain)[-1].public_bytes(serialization.Encoding.PEM)


def _still_valid(bundle: str, now: datetime, besides: bytes) -> bytes:
    """The certificates of `bundle` that have not ended, without `besides`."""
    if not bundle.strip():
        return b""
    try:
        certificates = x509.load_pem_x509_certificates(bundle.encode())
    except ValueError:
        return b""  # a bundle that nobody can read is written anew: it holds nothing but what is derived here
    pems = [c.public_bytes(serialization.Encoding.PEM) for c in certificates if c.not_valid_after_utc > now]
    return b"".join(pem for pem in pems if pem != besides)


def _new_certificate(now: datetime, names: tuple[str, ...]) -> tuple[bytes, bytes, bytes]:
    """A fresh authority and one certificate by it: (authority, chain, private key), all PEM."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ambit gateway authority")])
    begins, ends = now - timedelta(hours=1), now + CERTIFICATE_LIFE
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, GATEWAY)]))
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    authority = ca.public_bytes(serialization.Encoding.PEM)
    return (
        authority,
        certificate.public_bytes(serialization.Encoding.PEM) + authority,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def gateway_names(namespace: str) -> tuple[str, ...]:
    """How clients reach the gateway: its Service's names, and the loopback of a port-forward."""
    return (
        GATEWAY,
        f"{GATEWAY}.{namespace}",
        f"{GATEWAY}.{namespace}.svc",
        f"{GATEWAY}.{namespace}.svc.cluster.local",
        "localhost",
        "127.0.0.1",
    )

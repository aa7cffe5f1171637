"""The control plane's keys: made when missing, kept when there, renewed in time."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from ambit.api.names import GATEWAY_CA_PEM
from ambit.control import keys
from ambit.control.keys import KeyDamaged, KeyState, WriteSecret, WriteTrust

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAMES = keys.gateway_names("ambit-system")
NOTHING = KeyState(secrets=dict.fromkeys(keys.SECRETS), trust=None)


def after(state: KeyState, now: datetime = NOW) -> KeyState:
    """The state once everything that `missing` asks for is written."""
    secrets, trust = dict(state.secrets), state.trust
    for write in keys.missing(state, now, NAMES):
        if isinstance(write, WriteSecret):
            assert write.replace == (secrets.get(write.name) is not None)
            secrets[write.name] = write.data
        else:
            assert write.replace == (trust is not None)
            trust = write.data
    return KeyState(secrets, trust)


def test_on_an_empty_namespace_everything_is_made_and_then_nothing_more() -> None:
    made = after(NOTHING)
    assert all(made.secrets[name] is not None for name in keys.SECRETS)
    assert made.trust is not None
    assert set(made.trust) == {keys.SESSION_SIGNER_PEM, keys.GATEWAY_SIGNER_PEM, GATEWAY_CA_PEM}
    assert keys.missing(made, NOW, NAMES) == []


@pytest.mark.parametrize("lost", keys.SECRETS)
def test_a_lost_secret_is_made_anew_and_its_public_part_follows_while_the_others_stay(lost: str) -> None:
    made = after(NOTHING)
    again = after(KeyState({**made.secrets, lost: None}, made.trust))
    assert again.secrets[lost] != made.secrets[lost]
    for other in set(keys.SECRETS) - {lost}:
        assert again.secrets[other] == made.secrets[other]
    assert again.trust != made.trust
    assert keys.missing(again, NOW, NAMES) == []


def test_a_lost_trust_bundle_is_derived_from_the_secrets_that_are_there() -> None:
    made = after(NOTHING)
    assert after(KeyState(made.secrets, None)) == made


def test_a_tampered_public_key_is_put_right() -> None:
    made = after(NOTHING)
    assert made.trust is not None
    tampered = KeyState(made.secrets, {**made.trust, keys.SESSION_SIGNER_PEM: "another's"})
    [write] = keys.missing(tampered, NOW, NAMES)
    assert isinstance(write, WriteTrust)
    assert write.data == made.trust


def test_the_certificate_is_renewed_when_a_third_of_its_year_is_left_and_both_authorities_are_trusted() -> None:
    made = after(NOTHING)
    assert keys.missing(made, NOW + timedelta(days=240), NAMES) == []
    later = NOW + timedelta(days=244)
    renewed = after(made, later)
    assert renewed.secrets[keys.SESSION_SIGNER] == made.secrets[keys.SESSION_SIGNER]
    assert renewed.secrets[keys.GATEWAY_TLS] != made.secrets[keys.GATEWAY_TLS]
    assert renewed.trust is not None
    assert len(x509.load_pem_x509_certificates(renewed.trust[GATEWAY_CA_PEM].encode())) == 2
    assert keys.missing(renewed, later, NAMES) == []
    ended = after(renewed, NOW + timedelta(days=366))
    assert ended.trust is not None
    assert len(x509.load_pem_x509_certificates(ended.trust[GATEWAY_CA_PEM].encode())) == 1


def test_a_client_that_trusts_the_bundle_accepts_the_certificate_and_another_does_not() -> None:
    """A TLS handshake over memory, so that it is OpenSSL that judges the chain."""
    made, stranger = after(NOTHING, datetime.now(UTC)), after(NOTHING, datetime.now(UTC))
    assert shake_hands(made, made, "ambit-gateway.ambit-system.svc") is None
    assert "self-signed" in str(shake_hands(made, stranger, "ambit-gateway.ambit-system.svc"))
    assert "mismatch" in str(shake_hands(made, made, "elsewhere.example"))


def shake_hands(server_state: KeyState, client_state: KeyState, name: str) -> ssl.SSLError | None:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    tls = server_state.secrets[keys.GATEWAY_TLS]
    assert tls is not None
    assert client_state.trust is not None
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        for file, content in tls.items():
            (Path(folder) / file).write_bytes(content)
        server_context.load_cert_chain(Path(folder) / "tls.crt", Path(folder) / "tls.key")
    client_context = ssl.create_default_context(cadata=client_state.trust[GATEWAY_CA_PEM])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=name)
    server = server_context.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError as refused:
        return refused
    return None


@pytest.mark.parametrize("content", [{}, {"private.pem": b"rubbish"}])
def test_a_damaged_signer_is_left_to_a_person(content: dict[str, bytes]) -> None:
    made = after(NOTHING)
    with pytest.raises(KeyDamaged, match="delete it to have a new one made"):
        keys.missing(KeyState({**made.secrets, keys.SESSION_SIGNER: content}, made.trust), NOW, NAMES)

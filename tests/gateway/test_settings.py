"""What the gateway is told where the environment says no more than it must."""

from pathlib import Path

import pytest

from ambit.gateway.settings import Settings
from ambit.settings import SettingsError

LEAST = {
    "AMBIT_NAMESPACE": "ambit-system",
    "AMBIT_LEDGER_URL": "http://ambit-ledger.ambit-system:8090",
    "AMBIT_LEDGER_TOKEN_FILE": "/var/run/ambit/ledger/token",
    "AMBIT_TRUST": "/etc/ambit/trust",
    "AMBIT_GATEWAY_SIGNER": "/etc/ambit/signer",
    "AMBIT_GATEWAY_TLS": "/etc/ambit/tls",
    "HOSTNAME": "ambit-gateway-0",
}


def test_what_is_not_said_has_its_default() -> None:
    settings = Settings.from_env(LEAST)
    assert settings == Settings(
        namespace="ambit-system",
        service_account="ambit-gateway",
        ledger_url="http://ambit-ledger.ambit-system:8090",
        ledger_token_file=Path("/var/run/ambit/ledger/token"),
        trust_dir=Path("/etc/ambit/trust"),
        signer_dir=Path("/etc/ambit/signer"),
        tls_dir=Path("/etc/ambit/tls"),
        pod_name="ambit-gateway-0",
    )
    listen = [settings.sandbox_listen, settings.isolate_listen, settings.people_listen, settings.health_listen]
    assert listen == ["0.0.0.0:8080", "0.0.0.0:8081", "0.0.0.0:8443", "0.0.0.0:9090"]


@pytest.mark.parametrize("url", ["docs", "https://git.example/ambit/blob/main/docs", "http://wiki:8080/ambit"])
def test_the_documentation_is_where_it_is_said_to_be(url: str) -> None:
    assert Settings.from_env({**LEAST, "AMBIT_DOCS_URL": url}).docs_url == url


@pytest.mark.parametrize(
    "url", ["", "/docs", "git.example/docs", "https://git.example/docs/", "https://a/b?c", "https://"]
)
def test_what_no_page_stands_below_is_no_address_of_the_documentation(url: str) -> None:
    with pytest.raises(SettingsError, match="AMBIT_DOCS_URL"):
        Settings.from_env({**LEAST, "AMBIT_DOCS_URL": url})

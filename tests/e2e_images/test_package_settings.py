"""What the machine's package managers are told, as secrets of a build."""

import shlex
from pathlib import Path

from e2e.images.package_settings import package_secrets


def settings(secrets: dict[str, bytes]) -> dict[str, str]:
    """The variables that a shell has after it has read the secret."""
    words = [shlex.split(line)[1].partition("=") for line in secrets["package-settings"].decode().splitlines()]
    return {name: value for name, _, value in words}


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_pip_is_told_in_its_own_order_of_precedence(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    written(root / "etc/pip.conf", "[global]\ntimeout = 1\nretries = 1\n[install]\nprefer-binary = yes\n")
    written(home / ".config/pip/pip.conf", "[global]\ntimeout = 2\nretries = 2\n")
    said = settings(package_secrets({"PIP_TIMEOUT": "3"}, home, root))
    assert (said["PIP_TIMEOUT"], said["PIP_RETRIES"], said["PIP_PREFER_BINARY"]) == ("3", "2", "yes")


def test_folders_of_the_machine_are_not_named_in_the_image(tmp_path: Path) -> None:
    index = "https://packages.example/simple"
    environ = {"PIP_FIND_LINKS": "/opt/wheels", "PIP_CACHE_DIR": "/cache", "PIP_INDEX_URL": index}
    said = settings(package_secrets(environ, tmp_path, tmp_path))
    assert said["PIP_INDEX_URL"] == index
    assert not {"PIP_FIND_LINKS", "PIP_CACHE_DIR"} & said.keys()


def test_the_ca_bundle_goes_in_and_everybody_is_told_where_it_is(tmp_path: Path) -> None:
    bundle = written(tmp_path / "etc/own.pem", "a certificate")
    secrets = package_secrets({"SSL_CERT_FILE": "/etc/own.pem", "PIP_CERT": "/gone.pem"}, tmp_path, tmp_path)
    assert secrets["ca-bundle"] == bundle.read_bytes()
    assert {settings(secrets)[name] for name in ("PIP_CERT", "SSL_CERT_FILE", "npm_config_cafile")} == {
        "/run/secrets/ca-bundle"
    }


def test_npms_bundle_counts_too(tmp_path: Path) -> None:
    written(tmp_path / "etc/own.pem", "a certificate")
    npmrc = written(tmp_path / ".npmrc", "cafile = /etc/own.pem\naudit=false\n")
    secrets = package_secrets({}, tmp_path, tmp_path)
    assert (secrets["ca-bundle"], secrets["npmrc"]) == (b"a certificate", npmrc.read_bytes())


def test_a_machine_without_settings_tells_nothing_of_certificates_and_indexes(tmp_path: Path) -> None:
    secrets = package_secrets({"PATH": "/bin", "HOME": str(tmp_path)}, tmp_path, tmp_path)
    assert settings(secrets) == {"npm_config_userconfig": "/run/secrets/npmrc"}
    assert secrets["ca-bundle"] == secrets["npmrc"] == b""


def test_a_value_that_a_shell_would_read_otherwise_arrives_as_it_is(tmp_path: Path) -> None:
    value = "https://user:p$(id)'s@packages.example/simple"
    assert settings(package_secrets({"PIP_INDEX_URL": value}, tmp_path, tmp_path))["PIP_INDEX_URL"] == value

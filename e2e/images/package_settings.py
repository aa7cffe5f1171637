"""The package settings of the machine that builds, as secrets of the build.

An index, a proxy or a CA bundle that pip and npm need here must neither be needed by whoever runs the image nor be
found in it. They are therefore mounted while a RUN that asks for them runs (`--mount=type=secret,id=…`), and no layer
keeps them:

- `package-settings`: shell lines to be sourced (`. /run/secrets/package-settings`), PIP_*, npm_config_*, proxies, and
  where the next two are;
- `ca-bundle`: the machine's CA certificates; `npmrc`: its npm configuration.
"""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CA_VARIABLES: Final = (
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
)
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_NOT_IN_AN_IMAGE: Final = (
    "PIP_FIND_LINKS",
    "PIP_CACHE_DIR",
    "PIP_CONFIG_FILE",
    "PIP_LOG",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_USER",
    "PIP_TARGET",
)
"""Settings that name folders of the machine or choose where to install."""


def package_secrets(environ: Mapping[str, str], home: Path, root: Path = Path("/")) -> dict[str, bytes]:
    """The build's secrets by id. `root` is where /etc is looked for."""
    settings = _pip_settings(environ, home, root)
    settings |= {name: environ[name] for name in _PROXIES if name in environ}
    settings |= {name: value for name, value in environ.items() if name.lower().startswith("npm_config_registry")}
    npmrc = b"\n".join(
        path.read_bytes() for path in (root / "usr/etc/npmrc", root / "etc/npmrc", home / ".npmrc") if path.is_file()
    )
    bundle = _ca_bundle(environ, settings, npmrc.decode(), root)
    if bundle is not None:
        settings |= dict.fromkeys(_CA_VARIABLES, "/run/secrets/ca-bundle")
    settings["npm_config_userconfig"] = "/run/secrets/npmrc"
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(settings.items()))
    return {"package-settings": lines.encode(), "ca-bundle": bundle or b"", "npmrc": npmrc}


def _pip_settings(environ: Mapping[str, str], home: Path, root: Path) -> dict[str, str]:
    """pip's options in its own order of precedence (global file, user's files, PIP_CONFIG_FILE, environment), as PIP_
    variables.
    """
    files = [
        root / "etc/xdg/pip/pip.conf",
        root / "etc/pip.conf",
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
    ]
    if "PIP_CONFIG_FILE" in environ:
        files.append(Path(environ["PIP_CONFIG_FILE"]))
    settings: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file)
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                settings |= {
                    f"PIP_{key.upper().replace('-', '_')}": " ".join(value.split())
                    for key, value in parser.items(section)
                }
    settings |= {name: value for name, value in environ.items() if name.startswith("PIP_")}
    return {name: value for name, value in settings.items() if name not in _NOT_IN_AN_IMAGE}


def _ca_bundle(environ: Mapping[str, str], settings: Mapping[str, str], npmrc: str, root: Path) -> bytes | None:
    """The bundle that the machine's package managers are told to use; None where they use their own."""
    named = [settings.get("PIP_CERT"), *(environ.get(name) for name in _CA_VARIABLES)]
    named += [
        line.partition("=")[2].strip() for line in npmrc.splitlines() if line.partition("=")[0].strip() == "cafile"
    ]
    for name in named:
        if name and (path := root / name.lstrip("/")).is_file():
            return path.read_bytes()
    return None

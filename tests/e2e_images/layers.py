"""Looking for a machine's package settings in an image's layers."""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+(.+?)\s+-----END CERTIFICATE-----", re.DOTALL)
_OF_DEBIAN = "usr/share/ca-certificates/mozilla/"
_SETTINGS_FILES = re.compile(r"(^|/)(pip\.conf|\.?npmrc|package-settings|ca-bundle)$")
_SETTINGS_VARIABLES = re.compile(r"^(PIP_|SSL_|npm_config_|NODE_EXTRA_|REQUESTS_|CURL_CA_|https?_proxy)", re.IGNORECASE)


def traces_of_settings(layout: Path, secrets: dict[str, bytes]) -> list[str]:
    """What an image holds of the secrets of its build, or of any package settings: one line for each find."""
    config, layers = _read(layout)
    found = [f"environment: {entry}" for entry in config.get("Env", []) if _SETTINGS_VARIABLES.match(entry)]
    needles = frozenset({*_certificates(secrets["ca-bundle"]), *_secret_values(secrets)})
    files = [file for layer in layers for file in _searched(_blob(layout, layer["digest"]).resolve(), needles)]
    of_debian = {held for file in files if file.name.startswith(_OF_DEBIAN) for held in file.certificates}
    for file in files:
        if _SETTINGS_FILES.search(file.name):
            found.append(f"file: {file.name}")
        elif file.needles - of_debian:
            found.append(f"content: {file.name}")
    return found


def _read(layout: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads(_blob(layout, digest).read_text())
    return json.loads(_blob(layout, manifest["config"]["digest"]).read_text())["config"], manifest["layers"]


@dataclass(frozen=True)
class _File:
    """One file of a layer: its certificates where it is one of Debian's, and the needles that its content has."""

    name: str
    certificates: frozenset[bytes]
    needles: frozenset[bytes]


@cache
def _searched(layer: Path, needles: frozenset[bytes]) -> tuple[_File, ...]:
    """The files of a layer. Images share most of their layers, and each of those is read once."""
    return tuple(
        _File(
            name,
            frozenset(_certificates(content)) if name.startswith(_OF_DEBIAN) else frozenset(),
            _held(_unwrapped(content), needles),
        )
        for name, content in _files(layer)
    )


def _held(content: bytes, needles: frozenset[bytes]) -> frozenset[bytes]:
    """The needles that are in it. All certificates begin alike, and few files hold even that beginning."""
    beginnings = {start for start in {needle[:4] for needle in needles} if start in content}
    return frozenset(needle for needle in needles if needle[:4] in beginnings and needle in content)


def _files(layer: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(layer) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member.name.removeprefix("./"), stream.read()


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _certificates(pem: bytes) -> set[bytes]:
    return {_unwrapped(body) for body in _CERTIFICATE.findall(pem)}


def _unwrapped(content: bytes) -> bytes:
    return content.replace(b"\n", b"") if b"-----BEGIN" in content or content.isascii() else content


def _secret_values(secrets: dict[str, bytes]) -> set[bytes]:
    """Addresses and tokens: what is long enough, and the machine's own."""
    lines = secrets["package-settings"].decode().splitlines() + secrets["npmrc"].decode().splitlines()
    values = {line.partition("=")[2].strip("'\" ") for line in lines}
    return {value.encode() for value in values if "://" in value or ("_auth" in value and len(value) > 8)}

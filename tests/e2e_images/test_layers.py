"""No image holds the package settings of the machine that built it; each runs as nobody in particular."""

import io
import json
import os
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from e2e.images.__main__ import build_images, cache_folder, choose_builder, locked
from e2e.images.catalogue import Image
from e2e.images.inputs import Inputs
from e2e.images.package_settings import package_secrets
from tests.e2e_images.layers import traces_of_settings

PEM = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"
SECRETS = {
    "package-settings": b"export PIP_INDEX_URL=https://packages.example/simple\n",
    "ca-bundle": PEM % b"dGhlIG1h\nY2hpbmVz" + PEM % b"RGViaWFu",
    "npmrc": b"registry=https://npm.example/\n",
}
DEBIANS = {"usr/share/ca-certificates/mozilla/One.crt": PEM % b"RGViaWFu"}


def an_image(at: Path, files: dict[str, bytes], environment: list[str]) -> Path:
    def blob(content: bytes) -> str:
        digest = sha256(content).hexdigest()
        path = at / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"sha256:{digest}"

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    config = blob(json.dumps({"config": {"Env": environment}}).encode())
    manifest = {"config": {"digest": config}, "layers": [{"digest": blob(packed.getvalue())}]}
    index = {"manifests": [{"digest": blob(json.dumps(manifest).encode())}]}
    (at / "index.json").write_text(json.dumps(index))
    return at


@pytest.mark.parametrize(
    ("files", "environment", "traces"),
    [
        ({}, ["PATH=/bin"], []),
        ({"etc/ssl/certs/ca-certificates.crt": PEM % b"RGViaWFu"}, [], []),
        ({}, ["PIP_INDEX_URL=x"], ["environment: PIP_INDEX_URL=x"]),
        ({"etc/pip.conf": b""}, [], ["file: etc/pip.conf"]),
        ({"run/secrets/ca-bundle": b""}, [], ["file: run/secrets/ca-bundle"]),
        ({"root/.npmrc": b""}, [], ["file: root/.npmrc"]),
        ({"a.txt": b"from https://packages.example/simple"}, [], ["content: a.txt"]),
        ({"etc/ssl/all.pem": PEM % b"dGhlIG1hY2hp\nbmVz"}, [], ["content: etc/ssl/all.pem"]),
    ],
)
def test_traces_are_found(tmp_path: Path, files: dict[str, bytes], environment: list[str], traces: list[str]) -> None:
    assert traces_of_settings(an_image(tmp_path, DEBIANS | files, environment), SECRETS) == traces


@pytest.mark.cluster
@pytest.mark.machine
@pytest.mark.timeout(600)
def test_no_image_holds_package_settings_and_none_runs_as_root() -> None:
    root = cache_folder(os.environ)
    secrets = package_secrets(os.environ, Path.home())
    for built in build_images([], choose_builder("buildah", root), root):
        assert traces_of_settings(built.path, secrets) == [], built.name
        assert config_of(built.path)["User"] == "65532:65532", built.name


@pytest.mark.cluster
@pytest.mark.machine
@pytest.mark.timeout(600)
def test_a_build_that_fails_leaves_no_container_and_no_mount(tmp_path: Path) -> None:
    root = cache_folder(os.environ)
    builder = choose_builder("buildah", root)
    for _ in build_images(["ambit-workspace"], builder, root):  # the base is there now
        pass
    dockerfile = "FROM docker.io/library/debian:bookworm-slim\nRUN false\n"
    broken = Inputs(Image("broken", "Dockerfile", "."), dockerfile, (), "base", {})
    (tmp_path / "Dockerfile").write_text(dockerfile)
    with locked(root):
        with pytest.raises(subprocess.CalledProcessError):
            builder.build(broken, tmp_path, {})
        mounts = Path("/proc/self/mountinfo").read_text()
    assert str(root) not in mounts


def config_of(layout: Path) -> dict[str, Any]:
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    config = json.loads((layout / "blobs" / manifest.replace(":", "/")).read_text())["config"]["digest"]
    return json.loads((layout / "blobs" / config.replace(":", "/")).read_text())["config"]

"""OCI images as files: reading archives and layouts, sending only what a node lacks, and writing small ones."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from e2e.cluster.commands import run
from e2e.cluster.errors import Missing

_IMAGE_NAME = "io.containerd.image.name"
_REFERENCE_NAME = "org.opencontainers.image.ref.name"
_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


class Source(Protocol):
    """Where an image's blobs are."""

    def open(self, name: str) -> IO[bytes]: ...

    def size(self, name: str) -> int: ...


class Archive:
    """An OCI archive: a layout in an uncompressed tar file."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "r:")  # noqa: SIM115 (closed with the process that loads one image)
        self._members = {member.name.removeprefix("./"): member for member in self._tar.getmembers()}

    def open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name])
        if file is None:
            raise KeyError(name)
        return file

    def size(self, name: str) -> int:
        return self._members[name].size


class Folder:
    """An OCI layout in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        return (self._path / name).open("rb")

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size


@dataclass(frozen=True)
class Image:
    """`reference` is the name that Pods use; `digest` its manifest's; `blobs` all it needs, manifest first."""

    reference: str
    descriptor: Mapping[str, Any]
    blobs: tuple[str, ...]
    layers: tuple[str, ...]
    source: Source

    @property
    def digest(self) -> str:
        digest: str = self.descriptor["digest"]
        return digest


def read(path: Path) -> Image:
    """The one image in an OCI archive or layout. Raises Missing if `path` is neither, or holds several."""
    if not path.exists():
        raise Missing(f"there is no image at {path}", "build it, or give the path of an OCI archive or layout")
    try:
        source: Source = Folder(path) if path.is_dir() else Archive(path)
        index = json.load(source.open("index.json"))
    except (tarfile.TarError, KeyError, FileNotFoundError) as error:
        raise Missing(
            f"{path} is not an OCI archive or layout ({error})", "export it as one (`oci-archive:`)"
        ) from error
    if len(index["manifests"]) != 1:
        raise Missing(f"{path} holds {len(index['manifests'])} images", "give one layout or archive for each image")
    descriptor = index["manifests"][0]
    if descriptor["mediaType"] != _MANIFEST_TYPE:
        raise Missing(f"{path} holds a {descriptor['mediaType']}", "export the image of one platform, in OCI format")
    annotations = descriptor.get("annotations", {})
    reference = annotations.get(_IMAGE_NAME) or annotations.get(_REFERENCE_NAME)
    if not reference:
        raise Missing(f"the image in {path} has no name", f"export it with its name ({_REFERENCE_NAME})")
    manifest = json.load(source.open(blob_path(descriptor["digest"])))
    layers = tuple(layer["digest"] for layer in manifest["layers"])
    return Image(
        reference=full_reference(reference),
        descriptor=descriptor,
        blobs=(descriptor["digest"], manifest["config"]["digest"], *dict.fromkeys(layers)),
        layers=layers,
        source=source,
    )


@contextmanager
def exported(name: str) -> Generator[Path]:
    """The image as files: `name` itself if it is a path, else exported from buildah's storage for as long as this."""
    if Path(name).exists() or shutil.which("buildah") is None:
        yield Path(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(["buildah", "push", "--quiet", "--disable-compression", name, f"oci:{folder}:{full_reference(name)}"])
        yield Path(folder)


def full_reference(reference: str) -> str:
    """As container runtimes write it: with a registry and a tag."""
    first, slash, _ = reference.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        reference = f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def write_archive(image: Image, present: Collection[str], output: IO[bytes]) -> None:
    """The image as an archive, without the layers that are `present` where it goes."""
    with tarfile.open(fileobj=output, mode="w|") as tar:
        _add(tar, "oci-layout", _LAYOUT_FILE)
        descriptor = dict(image.descriptor) | {"annotations": {_IMAGE_NAME: image.reference}}
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode())
        for digest in image.blobs:
            if digest in image.layers and digest in present:
                continue
            name = blob_path(digest)
            header = tarfile.TarInfo(name)
            header.size = image.source.size(name)
            with image.source.open(name) as blob:
                tar.addfile(header, blob)


def blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def write_layout(folder: Path, reference: str, files: Mapping[str, Path], command: list[str]) -> None:
    """An image of one layer that holds `files` (path in the image → executable), made the same every time."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, path in sorted(files.items()):
            header = tarfile.TarInfo(name.lstrip("/"))
            header.size, header.mode = path.stat().st_size, 0o755
            with path.open("rb") as file:
                tar.addfile(header, file)
    layer_descriptor = _write_blob(folder, layer.getvalue(), _LAYER_TYPE)
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": command},
        "rootfs": {"type": "layers", "diff_ids": [layer_descriptor["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _write_blob(folder, json.dumps(config).encode(), _CONFIG_TYPE),
        "layers": [layer_descriptor],
    }
    descriptor = _write_blob(folder, json.dumps(manifest).encode(), _MANIFEST_TYPE)
    index = {"schemaVersion": 2, "manifests": [descriptor | {"annotations": {_REFERENCE_NAME: reference}}]}
    (folder / "oci-layout").write_bytes(_LAYOUT_FILE)
    (folder / "index.json").write_text(json.dumps(index))


def _write_blob(folder: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = folder / blob_path(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _architecture() -> str:

    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))

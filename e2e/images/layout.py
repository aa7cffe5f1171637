"""Where built images lie: one folder of blobs that all share, and for each image a folder that is an OCI image layout
with that image alone.

`<root>/layout` is written by the builder; `<root>/by-reference/<name>/<tag>/` holds `oci-layout`, an `index.json`
with one manifest, and `blobs`, a link to the shared ones. Such a folder is what `python -m e2e.cluster load` is
given: it reads the manifest and sends what a node lacks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_REFERENCE_NAME: Final = "org.opencontainers.image.ref.name"
_KEPT: Final = 3
"""So many builds of an image stay, so that going back and forth between two branches builds nothing."""


@dataclass(frozen=True, slots=True)
class Layouts:
    """The layouts under one root."""

    root: Path

    @property
    def shared(self) -> Path:
        """The layout that builders push to."""
        return self.root / "layout"

    def of(self, reference: str) -> Path:
        """The folder of one image, there or not."""
        repository, _, tag = reference.rpartition(":")
        return self.root / "by-reference" / repository.rpartition("/")[2] / tag

    def has(self, reference: str) -> bool:
        """Whether an image is there; it then counts as used just now."""
        index = self.of(reference) / "index.json"
        if not index.is_file():
            return False
        os.utime(index.parent)
        return True

    def add(self, reference: str) -> Path:
        """Give an image that was pushed to the shared layout its own folder. Raises KeyError if it is not there."""
        index = json.loads((self.shared / "index.json").read_text())
        by_name = {entry["annotations"][_REFERENCE_NAME]: entry for entry in index["manifests"]}
        folder = self.of(reference)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_bytes((self.shared / "oci-layout").read_bytes())
        blobs = folder / "blobs"
        if not blobs.is_symlink():
            blobs.symlink_to(os.path.relpath(self.shared / "blobs", folder))
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [by_name[reference]]}))
        return folder

    def size_bytes(self, reference: str) -> int:
        """What the image's layers take, as they lie here."""
        return sum(layer["size"] for layer in self._manifest(self.of(reference))["layers"])

    def prune(self, used: Iterable[str]) -> None:
        """Forget all but the last builds of each image and those `used`, and delete the blobs that nothing needs any
        more.
        """
        needed = {self.of(reference) for reference in used}
        for repository in self.root.glob("by-reference/*"):
            builds = sorted(repository.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
            for folder in builds[_KEPT:]:
                if folder not in needed:
                    shutil.rmtree(folder)
        kept = [folder for folder in self.root.glob("by-reference/*/*") if (folder / "index.json").is_file()]
        digests = {digest for folder in kept for digest in self._digests(folder)}
        entries = [json.loads((folder / "index.json").read_text())["manifests"][0] for folder in kept]
        _replace(self.shared / "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}))
        for blob in self.shared.glob("blobs/sha256/*"):
            if f"sha256:{blob.name}" not in digests:
                blob.unlink()

    def _digests(self, folder: Path) -> Iterator[str]:
        manifest = self._manifest(folder)
        yield json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
        yield manifest["config"]["digest"]
        for layer in manifest["layers"]:
            yield layer["digest"]

    @staticmethod
    def _manifest(folder: Path) -> dict[str, Any]:
        digest: str = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
        return json.loads((folder / "blobs" / digest.replace(":", "/")).read_text())


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)

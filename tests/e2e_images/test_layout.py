"""Where built images lie: layers shared, each image a layout of its own, old ones forgotten."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from e2e.images.layout import Layouts


def pushed(layouts: Layouts, reference: str, *layers: bytes) -> None:
    """What a builder's push leaves in the shared layout."""
    blobs = layouts.shared / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    config = blob(f"config of {reference}".encode())
    manifest = blob(json.dumps({"config": config, "layers": [blob(layer) for layer in layers]}).encode())
    index_file = layouts.shared / "index.json"
    index: dict[str, Any] = json.loads(index_file.read_text()) if index_file.is_file() else {"manifests": []}
    index["manifests"].append({**manifest, "annotations": {"org.opencontainers.image.ref.name": reference}})
    index_file.write_text(json.dumps(index))
    (layouts.shared / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def blobs(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.glob("blobs/sha256/*")}


def test_an_image_gets_a_layout_with_itself_alone_and_the_shared_blobs(tmp_path: Path) -> None:
    layouts = Layouts(tmp_path)
    pushed(layouts, "ambit.dev/one:1", b"base", b"code of one")
    pushed(layouts, "ambit.dev/two:1", b"base", b"code of two")
    assert not layouts.has("ambit.dev/one:1")
    folder = layouts.add("ambit.dev/one:1")
    assert layouts.has("ambit.dev/one:1")
    [manifest] = json.loads((folder / "index.json").read_text())["manifests"]
    assert manifest["annotations"]["org.opencontainers.image.ref.name"] == "ambit.dev/one:1"
    assert (folder / "blobs" / manifest["digest"].replace(":", "/")).is_file()
    assert (folder / "oci-layout").is_file()
    assert layouts.size_bytes("ambit.dev/one:1") == len(b"base" + b"code of one")


def test_an_image_that_was_not_pushed_cannot_be_added(tmp_path: Path) -> None:
    layouts = Layouts(tmp_path)
    pushed(layouts, "ambit.dev/one:1", b"base")
    with pytest.raises(KeyError):
        layouts.add("ambit.dev/one:2")


def test_old_builds_go_with_the_blobs_that_only_they_had(tmp_path: Path) -> None:
    layouts = Layouts(tmp_path)
    for number in range(5):
        reference = f"ambit.dev/one:{number}"
        pushed(layouts, reference, b"base", f"code {number}".encode())
        os.utime(layouts.add(reference), (number, number))
    layouts.prune(used=["ambit.dev/one:0"])
    there = [number for number in range(5) if layouts.has(f"ambit.dev/one:{number}")]
    assert there == [0, 2, 3, 4]
    assert b"base" in blobs(layouts.shared)
    assert b"code 1" not in blobs(layouts.shared)
    assert {b"code 0", b"code 2", b"code 3", b"code 4"} < blobs(layouts.shared)
    pushed(layouts, "ambit.dev/one:5", b"base", b"code 5")
    layouts.add("ambit.dev/one:5")  # the shared index still holds what a builder expects


def test_asking_for_an_image_counts_as_using_it(tmp_path: Path) -> None:
    layouts = Layouts(tmp_path)
    for number in range(4):
        reference = f"ambit.dev/one:{number}"
        pushed(layouts, reference, b"base")
        os.utime(layouts.add(reference), (number, number))
    layouts.has("ambit.dev/one:0")
    layouts.prune(used=[])
    assert [number for number in range(4) if layouts.has(f"ambit.dev/one:{number}")] == [0, 2, 3]

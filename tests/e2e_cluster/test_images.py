"""Images as files."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from e2e.cluster import images
from e2e.cluster.errors import Missing


def a_layout(folder: Path, reference: str = "ambit.dev/tool:1", content: bytes = b"#!program") -> Path:
    program = folder / "program"
    folder.mkdir(parents=True, exist_ok=True)
    program.write_bytes(content)
    images.write_layout(folder / "layout", reference, {"/tool": program}, ["/tool"])
    return folder / "layout"


def an_archive(layout: Path, path: Path) -> Path:
    with path.open("wb") as file:
        images.write_archive(images.read(layout), (), file)
    return path


def names_in(archive: io.BytesIO) -> set[str]:
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        return set(tar.getnames())


def test_a_written_image_is_read_back_and_is_the_same_every_time(tmp_path: Path) -> None:
    one, other = images.read(a_layout(tmp_path / "1")), images.read(a_layout(tmp_path / "2"))
    assert one.reference == "ambit.dev/tool:1"
    assert one.digest == other.digest
    assert images.read(a_layout(tmp_path / "3", content=b"#!other")).digest != one.digest


def test_an_archive_is_read_like_the_layout_it_was_made_of(tmp_path: Path) -> None:
    layout = a_layout(tmp_path)
    archived, original = images.read(an_archive(layout, tmp_path / "image.tar")), images.read(layout)
    assert (archived.reference, archived.digest, archived.blobs) == (
        original.reference,
        original.digest,
        original.blobs,
    )


def test_layers_that_are_present_are_not_sent_and_all_else_is(tmp_path: Path) -> None:
    image = images.read(a_layout(tmp_path))
    sent = io.BytesIO()
    images.write_archive(image, set(image.layers), sent)
    assert names_in(sent) == {"oci-layout", "index.json", *map(images.blob_path, set(image.blobs) - set(image.layers))}


def test_an_archive_names_its_image_the_way_container_runtimes_do(tmp_path: Path) -> None:
    image = images.read(a_layout(tmp_path, reference="tool"))
    sent = io.BytesIO()
    images.write_archive(image, (), sent)
    sent.seek(0)
    with tarfile.open(fileobj=sent) as tar:
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": "docker.io/library/tool:latest"}


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:bookworm-slim", "docker.io/library/debian:bookworm-slim"),
        ("team/tool:1", "docker.io/team/tool:1"),
        ("ambit.dev/ambit:1", "ambit.dev/ambit:1"),
        ("localhost/tool", "localhost/tool:latest"),
        ("host:5000/tool", "host:5000/tool:latest"),
    ],
)
def test_names_are_completed_as_container_runtimes_do(written: str, full: str) -> None:
    assert images.full_reference(written) == full


def test_what_is_no_image_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(Missing, match="not an OCI archive or layout"):
        images.read(tmp_path / "text.tar")
    with pytest.raises(Missing, match="there is no image at"):
        images.read(tmp_path / "nothing")


def test_a_layout_with_several_images_is_refused(tmp_path: Path) -> None:
    layout = a_layout(tmp_path)
    index = json.loads((layout / "index.json").read_text())
    (layout / "index.json").write_text(json.dumps(index | {"manifests": index["manifests"] * 2}))
    with pytest.raises(Missing, match="holds 2 images"):
        images.read(layout)

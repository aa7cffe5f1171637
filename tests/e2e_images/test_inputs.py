"""A tag is a hash of everything that goes into an image, and nothing else goes in."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.images.catalogue import CATALOGUE, REPOSITORY, Image, UnknownImageError, in_build_order
from e2e.images.inputs import Inputs, MissingInputError, all_references, read_inputs, stage_context

IMAGE = Image("tool", "images/Dockerfile", ".")


def a_repository(at: Path) -> Path:
    for path, text in {
        "images/Dockerfile": "FROM debian\nCOPY src /src\nCOPY run.sh /run.sh\n",
        "src/a.py": "a = 1\n",
        "src/deep/b.py": "b = 2\n",
        "run.sh": "#!/bin/sh\n",
        "unused.txt": "not copied\n",
    }.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_text(text)
    (at / "run.sh").chmod(0o755)
    return at


def inputs_of(repository: Path, base: str = "base-1", build_args: dict[str, str] | None = None) -> Inputs:
    return read_inputs(repository, IMAGE, base, build_args or {})


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda repository: (repository / "src/a.py").write_text("a = 2\n"),
    "a new file": lambda repository: (repository / "src/deep/new.py").touch(),
    "a name": lambda repository: (repository / "src/a.py").rename(repository / "src/c.py"),
    "the executable bit": lambda repository: (repository / "run.sh").chmod(0o644),
    "the Dockerfile": lambda repository: (repository / "images/Dockerfile").write_text("FROM other\nCOPY src /src\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_what_goes_in_changes_the_tag(tmp_path: Path, change: Callable[[Path], object]) -> None:
    repository = a_repository(tmp_path)
    before = inputs_of(repository).tag
    change(repository)
    assert inputs_of(repository).tag != before


def test_a_change_of_the_base_or_of_a_build_argument_changes_the_tag(tmp_path: Path) -> None:
    repository = a_repository(tmp_path)
    tags = {inputs_of(repository).tag, inputs_of(repository, "base-2").tag}
    tags.add(inputs_of(repository, build_args={"WORKSPACE": "x:1"}).tag)
    assert len(tags) == 3


def test_nothing_else_changes_the_tag(tmp_path: Path) -> None:
    repository, elsewhere = a_repository(tmp_path / "one"), a_repository(tmp_path / "two")
    (elsewhere / "unused.txt").write_text("changed\n")
    (elsewhere / "src/__pycache__").mkdir()
    (elsewhere / "src/__pycache__/a.pyc").write_bytes(b"made here")
    os.utime(elsewhere / "src/a.py", (0, 0))
    assert inputs_of(repository).tag == inputs_of(elsewhere).tag


def test_the_context_is_what_was_hashed_and_no_more_even_if_files_change_meanwhile(tmp_path: Path) -> None:
    repository, context = a_repository(tmp_path / "repository"), tmp_path / "context"
    (repository / "src/__pycache__").mkdir()
    (repository / "src/__pycache__/a.pyc").write_bytes(b"made here")
    inputs = inputs_of(repository)
    tag = inputs.tag
    (repository / "src/a.py").write_text("an edit during the build\n")
    context.mkdir()
    stage_context(inputs, context)
    staged = {path.relative_to(context).as_posix(): path for path in context.rglob("*") if path.is_file()}
    assert sorted(staged) == ["run.sh", "src/a.py", "src/deep/b.py"]
    assert staged["src/a.py"].read_text() == "a = 1\n"
    assert os.access(staged["run.sh"], os.X_OK)
    assert inputs.tag == tag


def test_a_copy_of_what_is_not_there_is_said_with_image_and_path(tmp_path: Path) -> None:
    repository = a_repository(tmp_path)
    (repository / "run.sh").unlink()
    with pytest.raises(MissingInputError, match=r"image tool: images/Dockerfile copies 'run\.sh'"):
        inputs_of(repository)


def test_an_image_is_built_after_those_it_stands_on_and_its_tag_follows_theirs(tmp_path: Path) -> None:
    repository = a_repository(tmp_path)
    (repository / "top").mkdir()
    (repository / "top/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    top = Image("top", "top/Dockerfile", "top", {"BASE": "tool"})
    ordered = in_build_order(["top"], [top, IMAGE])
    assert [image.name for image in ordered] == ["tool", "top"]
    before = all_references(repository, ordered, "base")
    (repository / "src/a.py").write_text("a = 3\n")
    after = all_references(repository, ordered, "base")
    assert before["top"].build_args == {"BASE": before["tool"].reference}
    assert before["top"].tag != after["top"].tag


def test_an_unknown_image_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownImageError, match=r"no image 'ambitt'; there are: ambit,"):
        in_build_order(["ambitt"])


def test_every_image_of_the_catalogue_has_its_dockerfile_and_all_that_it_copies() -> None:
    references = all_references(REPOSITORY, in_build_order([]), "base")
    assert sorted(references) == sorted(image.name for image in CATALOGUE)

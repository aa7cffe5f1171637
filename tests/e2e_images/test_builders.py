"""What docker is asked to do. (buildah is run for real: test_layers.py.)"""

import subprocess
from pathlib import Path

import pytest

from e2e.images.builders import Docker, docker_engine_runs
from e2e.images.catalogue import Image
from e2e.images.inputs import Inputs

INPUTS = Inputs(Image("tool", "Dockerfile", "."), "FROM debian\n", (), "base", {"WORKSPACE": "ambit.dev/w:1"})


def a_docker(folder: Path, script: str) -> Path:
    """A program named docker that writes down how it is called; the log."""
    log = folder / "calls"
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{script}\n')
    program.chmod(0o755)
    return log


def test_docker_builds_with_the_secrets_and_saves_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = a_docker(tmp_path, 'if [ "$1" = save ]; then echo image > "$3"; fi')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    docker, context = Docker(tmp_path / "cache"), tmp_path / "context"
    assert docker.path(INPUTS.reference) is None
    archive = docker.build(INPUTS, context, {"ca-bundle": tmp_path / "ca"})
    build, save = log.read_text().splitlines()
    assert build == (
        f"build --quiet --file {context}/Dockerfile --tag {INPUTS.reference} --network host"
        f" --build-arg WORKSPACE=ambit.dev/w:1 --secret id=ca-bundle,src={tmp_path}/ca {context}"
    )
    assert save.endswith(INPUTS.reference)
    assert docker.path(INPUTS.reference) == archive
    assert archive.read_text() == "image\n"


def test_a_failed_save_leaves_nothing_that_looks_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_docker(tmp_path, 'if [ "$1" = save ]; then echo half > "$3"; exit 1; fi')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    docker = Docker(tmp_path / "cache")
    with pytest.raises(subprocess.CalledProcessError):
        docker.build(INPUTS, tmp_path, {})
    assert docker.path(INPUTS.reference) is None


def test_docker_keeps_the_archives_in_use_and_those_of_other_images(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    for name in ("tool-1", "tool-2", "other-1"):
        (archives / f"{name}.tar").touch()
    Docker(tmp_path).prune(["ambit.dev/tool:2"])
    assert sorted(path.stem for path in archives.iterdir()) == ["other-1", "tool-2"]


@pytest.mark.parametrize(("script", "runs"), [("echo an-id", True), ("exit 1", False), ("echo", False)])
def test_a_client_without_an_engine_is_not_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, runs: bool
) -> None:
    a_docker(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert docker_engine_runs() is runs

"""Where a built program is kept, and what makes it another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.commands import run
from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build
from e2e.cluster.upstream.catalogue import FAKE_NODES, HELM, KUBERNETES, NODE, NODE_TOOLS, RUNC, Binary


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Go's own cache stays where it is, or the standard library would be compiled for this test.
    monkeypatch.setenv("GOCACHE", run(["go", "env", "GOCACHE"]).strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_cache_is_the_users() -> None:
    assert build.cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/ambit/bin")
    assert build.cache_folder({}) == Path.home() / ".cache/ambit/bin"


def test_a_program_is_built_once_and_found_the_second_time() -> None:
    path = build.ensure([NODE_TOOLS], Progress())["node-tools"]
    built = path.stat()
    assert path.stat().st_mode & 0o111
    assert build.ensure([NODE_TOOLS], Progress())["node-tools"] == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (built.st_ino, built.st_mtime_ns)


@pytest.mark.parametrize(
    "other",
    [
        replace(HELM, tags=("static",)),
        replace(HELM, package="./other"),
        replace(HELM, link_variables={"main.version": "1"}),
        replace(HELM, module="kwok"),
    ],
    ids=["tags", "package", "link variables", "module"],
)
def test_whatever_goes_into_a_program_is_in_its_hash(other: Binary) -> None:
    assert build.cached_path(other) != build.cached_path(HELM)
    assert build.cached_path(replace(HELM)) == build.cached_path(HELM)


def test_sources_and_locks_are_in_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "modules" / "tool"
    module.mkdir(parents=True)
    monkeypatch.setattr(build, "MODULES", module.parent)
    (module.parent / "node-tools").mkdir()
    tool = Binary("tool", "tool", ".", 0)
    seen = {build.cached_path(tool)}
    for name in ("go.mod", "go.sum", "main.go"):
        (module / name).write_text("content")
        seen.add(build.cached_path(tool))
    assert len(seen) == 4


def test_every_upstream_module_is_locked() -> None:
    artifacts = {artifact.module for artifact in (KUBERNETES, HELM, *NODE, *FAKE_NODES)}
    for module in artifacts - {NODE_TOOLS.module}:
        assert (build.MODULES / module / "go.sum").stat().st_size > 0, module


def test_only_runc_needs_a_c_compiler() -> None:
    binaries = [artifact for artifact in (KUBERNETES, HELM, *NODE, *FAKE_NODES) if isinstance(artifact, Binary)]
    assert [binary.name for binary in binaries if binary.cgo] == [RUNC.name]

"""`python -m e2e.cluster build`: all that a cluster of one node and its clients need, and nothing twice."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e.cluster.cli import main
from e2e.cluster.commands import run
from e2e.cluster.embedded.provider import artifacts
from e2e.cluster.provider import Wanted
from e2e.cluster.upstream import build
from e2e.cluster.upstream.catalogue import HELM, KUBERNETES, NODE_TOOLS

# The machine's compilers and libraries are part of a program's hash: they are there once the stage `build` is over.
pytestmark = pytest.mark.integration


def test_it_builds_what_is_missing_of_a_node_and_its_clients_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Go's own cache stays where it is, or the standard library would be compiled for this test.
    monkeypatch.setenv("GOCACHE", run(["go", "env", "GOCACHE"]).strip())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = [*artifacts(Wanted(nodes=1, fake_nodes=0)), HELM]
    built_before = {build.cached_path(each) for each in wanted if each is not NODE_TOOLS}
    build.cache_folder().mkdir(parents=True)
    for path in built_before:
        path.write_text("built before")
    done = CliRunner().invoke(main, ["build"])
    assert done.exit_code == 0, done.output
    assert build.cached_path(NODE_TOOLS).stat().st_mode & 0o111
    assert {path.read_text() for path in built_before} == {"built before"}
    links = {link.name: link.resolve() for link in (build.cache_folder() / "tools").glob("*/*")}
    assert links == {"kubectl": build.cached_path(KUBERNETES), "helm": build.cached_path(HELM)}

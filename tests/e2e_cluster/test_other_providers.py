"""kind and the current context: what is run, with what; and which provider is taken.

There is no Docker where these tests run: a program named `kind` writes down how it is called.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from e2e.cluster import kind, provider
from e2e.cluster.current import Current
from e2e.cluster.errors import Missing, NotRunning
from e2e.cluster.kind import Kind
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Wanted
from e2e.images.catalogue import REPOSITORY
from tests.e2e_cluster.test_images import a_layout


class Kinds:
    """A folder on the PATH with a `kind` that knows the clusters in the file `clusters`."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self._clusters = folder / "clusters"
        self._clusters.touch()
        self.stdin = folder / "stdin"
        program = folder / "kind"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {self._calls}\n'
            f'case "$1 $2" in "get clusters") cat {self._clusters};; "get nodes") echo "$4-control-plane";;'
            f' "create cluster") cat > {self.stdin}; echo "$4" >> {self._clusters};; esac\n'
        )
        program.chmod(0o755)

    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kinds:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Kinds(folder)


def test_kind_makes_a_cluster_once_with_a_kubeconfig_of_its_own(kinds: Kinds, tmp_path: Path) -> None:
    cluster = Kind("ambit-test", Progress())
    cluster.up(Wanted(nodes=2, fake_nodes=0))
    cluster.up(Wanted(nodes=2, fake_nodes=0))
    path = tmp_path / "cache/ambit/kind/ambit-test.kubeconfig"
    created = [call for call in kinds.calls() if call.startswith("create")]
    assert created == [f"create cluster --name ambit-test --config - --kubeconfig {path} --wait 300s"]
    assert cluster.kubeconfig() == path
    assert [component.name for component in cluster.status()] == ["ambit-test-control-plane"]


@pytest.mark.parametrize(
    ("nodes", "roles"), [(0, ["control-plane"]), (1, ["control-plane"]), (2, ["control-plane", "worker"])]
)
def test_kinds_configuration_has_the_nodes_that_were_asked_for(nodes: int, roles: list[str]) -> None:
    config = kind.cluster_config(Wanted(nodes, 0))
    assert (config["apiVersion"], config["kind"]) == ("kind.x-k8s.io/v1alpha4", "Cluster")
    assert [node["role"] for node in config["nodes"]] == roles


def test_kind_gets_its_configuration_on_stdin(kinds: Kinds) -> None:
    Kind("a", Progress()).up(Wanted(1, 0))
    assert json.loads(kinds.stdin.read_text()) == kind.cluster_config(Wanted(1, 0))


def test_kind_loads_files_as_archives_and_names_from_docker(kinds: Kinds, tmp_path: Path) -> None:
    cluster = Kind("a", Progress())
    cluster.up(Wanted(1, 0))
    cluster.load([str(a_layout(tmp_path)), "tool:1"])
    archive, image = [call.split() for call in kinds.calls() if call.startswith("load")]
    assert archive[:2] == ["load", "image-archive"]
    assert archive[3:] == ["--name", "a"]
    assert image == ["load", "docker-image", "tool:1", "--name", "a"]


def test_kind_removes_the_cluster_and_its_kubeconfig(kinds: Kinds, tmp_path: Path) -> None:
    path = tmp_path / "cache/ambit/kind/a.kubeconfig"
    path.parent.mkdir(parents=True)
    path.touch()
    Kind("a", Progress()).down()
    assert kinds.calls() == [f"delete cluster --name a --kubeconfig {path}"]
    assert not path.exists()


def test_a_kind_cluster_that_is_not_there_is_said_to_be_so(kinds: Kinds) -> None:
    with pytest.raises(NotRunning, match="up --name a"):
        Kind("a", Progress()).kubeconfig()
    assert Kind("a", Progress()).status() == []
    assert kinds.calls() == ["get clusters", "get clusters"]


@pytest.mark.parametrize("cluster", [Kind("a", Progress()), Current(Progress())], ids=["kind", "current"])
def test_fake_nodes_are_for_the_embedded_cluster(cluster: Kind | Current) -> None:
    with pytest.raises(Missing, match="--provider embedded"):
        cluster.up(Wanted(nodes=1, fake_nodes=3))


def test_the_current_cluster_is_neither_removed_nor_loaded(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(name: str, _progress: Progress) -> Path:
        raise AssertionError(f"{name} is built, which takes minutes, where nothing is run")

    monkeypatch.setattr("e2e.cluster.upstream.build.client", built)
    monkeypatch.setattr("e2e.cluster.upstream.build.tool", built)
    cluster = Current(Progress(), {"KUBECONFIG": str(kubeconfig)})
    assert cluster.kubeconfig() == kubeconfig
    with pytest.raises(Missing, match="not made by `up`"):
        cluster.down()
    with pytest.raises(Missing) as refused:
        cluster.load(["tool:1", "tool:2"])
    said = str(refused.value)
    assert "the nodes of production from here (tool:1, tool:2): push them to a registry" in said
    # What it says to write instead is what the chart takes, and stands where it says.
    values = yaml.safe_load((REPOSITORY / "charts/ambit/values.yaml").read_text())
    for name in ("ambit", "isolateHost"):
        assert f"--set image.{name}=" in said
        assert name in values["image"]
    assert (REPOSITORY / "docs/own-cluster.md").is_file()
    assert said.endswith("(docs/own-cluster.md)")


def test_the_current_cluster_must_answer(kubectl: Path, kubeconfig: Path) -> None:
    cluster = Current(Progress(), {"KUBECONFIG": str(kubeconfig)})
    (kubectl / "answers").touch()
    cluster.up(Wanted(1, 0))
    assert [component.healthy for component in cluster.status()] == [True]
    (kubectl / "answers").unlink()
    with pytest.raises(Missing, match="context production does not answer"):
        cluster.up(Wanted(1, 0))
    assert [component.healthy for component in cluster.status()] == [False]


def test_the_current_context_is_that_of_the_first_file_that_names_one(kubeconfig: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kind: Config\ncurrent-context: ''\n")
    files = f"{tmp_path / 'none'}:{tmp_path / 'other'}:{kubeconfig}"
    with pytest.raises(Missing, match="the nodes of production from here"):
        Current(Progress(), {"KUBECONFIG": files}).load(["tool:1"])
    with pytest.raises(Missing, match="has no current context: choose one"):
        Current(Progress(), {"KUBECONFIG": str(tmp_path / "other")}).load(["tool:1"])


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\ncurrent-context: production\n")
    return path


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's own kubectl, and an empty cache; it reaches its cluster if `answers` is in the folder returned."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncase "$*" in *readyz) [ -e {tmp_path}/answers ];; *) exit 2;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_kind_is_taken_where_it_and_a_docker_engine_are_and_what_is_asked_for_always(
    kinds: Kinds, tmp_path: Path
) -> None:
    docker = tmp_path / "bin" / "docker"
    for engine_runs, chosen in (("false", "embedded"), ("true", "kind")):
        docker.write_text(f"#!/bin/sh\n[ $1 = info ] && {engine_runs}\n")
        docker.chmod(0o755)
        assert provider.choose(None) == chosen
    assert provider.choose("current") == "current"

"""What the demo applies is the quickstart itself, with the tags of the images that were built."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.demo import overlay
from e2e.images.catalogue import CATALOGUE, REGISTRY, REPOSITORY

QUICKSTART = REPOSITORY / "examples" / "quickstart"
MODEL_SERVER = REPOSITORY / "examples" / "model-server"


def documents(folder: Path) -> list[dict[str, Any]]:
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [document for name in resources for document in yaml.safe_load_all((folder / name).read_text())]


def test_the_overlay_names_the_quickstart_the_namespace_and_the_tags(tmp_path: Path) -> None:
    references = {"example-coder": f"{REGISTRY}/example-coder:abc"}
    written = yaml.safe_load(overlay.kustomization(tmp_path, QUICKSTART, references, "demo-1"))
    assert (tmp_path / written["resources"][0]).resolve() == QUICKSTART
    assert written["namespace"] == "demo-1"
    assert written["images"] == [{"name": f"{REGISTRY}/example-coder", "newTag": "abc"}]


def test_the_way_to_the_quickstart_holds_where_the_cache_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep" / "cache").mkdir(parents=True)
    (tmp_path / "cache").symlink_to(tmp_path / "disk" / "deep" / "cache")
    overlay.write(tmp_path / "cache" / "demo", QUICKSTART, {}, "demo-1")
    there = (tmp_path / "cache" / "demo").resolve()
    (resources,) = yaml.safe_load((there / "kustomization.yaml").read_text())["resources"]
    assert (there / resources).resolve() == QUICKSTART


def test_every_image_of_the_examples_is_one_that_is_built() -> None:
    agents = [each for each in documents(QUICKSTART) if each["kind"] == "Agent"]
    environments = [agent["spec"]["environment"] for agent in agents]
    used = [environment["container"]["image"] for environment in environments if "container" in environment]
    for deployment in (each for each in documents(MODEL_SERVER) if each["kind"] == "Deployment"):
        used += [container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]]
    assert len(used) == 2
    assert {image.rpartition(":")[0] for image in used} <= {f"{REGISTRY}/{image.name}" for image in CATALOGUE}


def test_every_reference_of_the_quickstart_is_to_something_in_it() -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in documents(QUICKSTART)}
    generated = yaml.safe_load((QUICKSTART / "kustomization.yaml").read_text())["configMapGenerator"]
    files = {each["name"]: [Path(file).name for file in each["files"]] for each in generated}
    for agent in (each["spec"] for each in documents(QUICKSTART) if each["kind"] == "Agent"):
        assert ("Budget", agent["budgetRef"]["name"]) in there
        assert {("ModelRoute", model["routeRef"]["name"]) for model in agent["models"]} <= there
        if isolate := agent["environment"].get("isolate"):
            assert ("SandboxPool", "default") in there
            assert isolate["code"]["main"] in files[isolate["code"]["configMapRef"]["name"]]
    assert all((QUICKSTART / file).is_file() for each in generated for file in each["files"])


@pytest.mark.cluster
def test_kustomize_puts_the_tags_into_agents_and_deployments(tmp_path: Path) -> None:
    references = {name: f"{REGISTRY}/{name}:abc" for name in ("example-coder", "example-model-server")}
    for source, kind in ((QUICKSTART, "Agent"), (MODEL_SERVER, "Deployment")):
        overlay.write(tmp_path / kind, source, references, None)
        built = kustomized(tmp_path / kind)
        assert ":abc" in built
        assert ":dev" not in built


@pytest.mark.cluster
def test_the_overlay_that_the_quickstart_shows_puts_ones_own_image_in_its_place(tmp_path: Path) -> None:
    shown = (QUICKSTART / "README.md").read_text().partition("<<EOF\n")[2].partition("EOF\n")[0]
    assert "resources: [../../examples/quickstart]" in shown
    here = shown.replace("../../examples/quickstart", os.path.relpath(QUICKSTART.resolve(), tmp_path.resolve()))
    (tmp_path / "kustomization.yaml").write_text(here)
    (tmp_path / "images.yaml").write_bytes((QUICKSTART / "images.yaml").read_bytes())
    built = kustomized(tmp_path)
    assert "image: registry.example/ambit/example-coder:1.0\n" in built
    assert f"{REGISTRY}/" not in built.replace(f"apiVersion: {REGISTRY}/", "")


def kustomized(folder: Path) -> str:
    tool = [sys.executable, "-m", "e2e.cluster", "tool", "kubectl"]
    kubectl = subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip()
    return subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True).stdout

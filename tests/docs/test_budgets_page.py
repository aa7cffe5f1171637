"""The changes that docs/budgets.md makes are taken by the apiserver, one after the other, over the team of the page."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from e2e.install import Kubectl
from tests.api.apiserver import connected

ROOT = Path(__file__).parents[2]
TEAM = ROOT / "examples" / "own-cluster" / "team.yaml"
COMMANDS = [
    shlex.split(line)[1:]
    for line in (ROOT / "docs" / "budgets.md").read_text().splitlines()
    if line.startswith("kubectl patch ")
]


def test_each_field_that_has_a_heading_is_changed() -> None:
    headings = re.findall(r"^## .*`(\w+)", (ROOT / "docs" / "budgets.md").read_text(), re.MULTILINE)
    changed = {field for command in COMMANDS for field in json.loads(command[-1])["spec"]}
    assert changed == set(headings)
    assert len(headings) == len(set(headings)) > 0


@pytest.mark.integration
def test_the_apiserver_takes_every_change(admin: Kubectl) -> None:
    manifests = [each for each in yaml.safe_load_all(TEAM.read_text()) if each]
    team = [each for each in manifests if each["metadata"].get("namespace") == "team-a"]
    with connected() as apiserver:
        for manifest in (each for each in team if each["kind"] in ("Budget", "Agent")):
            text = json.dumps(manifest).replace('"namespace": "team-a"', f'"namespace": "{apiserver.namespace}"')
            admin.run("apply", "--filename", "-", stdin=text)
        for command in COMMANDS:
            said = admin.run(*(apiserver.namespace if word == "team-a" else word for word in command))
            assert said.strip().endswith(" patched"), f"it changes nothing: {command}"

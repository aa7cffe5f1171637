"""The kubeconfig that docs/own-cluster.md has CI make: the service account's token, and no credential of whoever made
it.
"""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.install import Kubectl
from tests.own_cluster import runner_kubeconfig

pytestmark = pytest.mark.integration


@pytest.fixture
def team(admin: Kubectl) -> Iterator[str]:
    name = f"docs-{uuid.uuid4().hex[:8]}"
    admin.run("create", "namespace", name)
    admin.run("create", "serviceaccount", "runner", "--namespace", name)
    yield name
    admin.run("delete", "namespace", name, "--wait=false")


def test_it_is_the_service_account_and_holds_nobody_elses_credential(admin: Kubectl, team: str, tmp_path: Path) -> None:
    made = runner_kubeconfig(admin.kubeconfig, admin.program, team, tmp_path)
    whoami = admin.program, "--kubeconfig", made, "auth", "whoami", "--output", "jsonpath={.status.userInfo.username}"
    asked = subprocess.run(whoami, capture_output=True, text=True, check=True)
    assert asked.stdout == f"system:serviceaccount:{team}:runner"

    (user,) = yaml.safe_load(made.read_text())["users"]
    assert set(user["user"]) == {"token"}
    mine = yaml.safe_load(admin.run("config", "view", "--raw", "--minify", "--flatten"))["users"]
    secrets = [str(value) for each in mine for value in each["user"].values()]
    assert secrets
    assert not [secret for secret in secrets if secret in made.read_text()]


def test_nobody_else_may_read_what_is_made(admin: Kubectl, team: str, tmp_path: Path) -> None:
    made = runner_kubeconfig(admin.kubeconfig, admin.program, team, tmp_path)
    for path in (made.parent, *made.parent.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
    assert tmp_path in made.parents, "it is where mktemp has it, not in the folder that one stands in"

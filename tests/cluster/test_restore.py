"""A restore of the ledger on Kubernetes, with the very commands of docs/ledger-storage.md."""

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from e2e.cluster.progress import Progress
from e2e.cluster.upstream import build
from e2e.install import NAMESPACE
from tests.cluster.conftest import Cluster
from tests.cluster.manifests import a_budget

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(900)]
PAGE = Path(__file__).parents[2] / "docs" / "ledger-storage.md"
PROCEDURE = "### On Kubernetes, with the embedded journal"


def commands(heading: str) -> list[str]:
    """The shell blocks below a heading, up to the next one."""
    section = re.split(r"^#+ ", PAGE.read_text().partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)]


class Shell:
    """Runs what a page shows, each time in a shell that has the aliases of before."""

    def __init__(self, cluster: Cluster, folder: Path, namespace: str) -> None:
        kubectl = build.client("kubectl", Progress()).parent
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(cluster.installed.kubeconfig),
            "PATH": f"{kubectl}:{os.environ['PATH']}",
        }
        self._folder = folder
        self._namespace = namespace
        self._aliases = ""

    def run(self, block: str) -> str:
        """What it prints, on both streams. Fails with that where one of its commands does."""
        mine = block.replace("budget/team-a/", f"budget/{self._namespace}/")
        script = f"shopt -s expand_aliases\n{self._aliases}\nset -e\n{mine}"
        self._aliases += "\n".join(re.findall(r"^alias .*$", mine, re.MULTILINE))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{mine}\n{done.stdout}"
        return done.stdout


def change(cluster: Cluster, *arguments: str, accepted: tuple[int, ...] = (0,)) -> str:
    operator = ("exec", "--namespace", NAMESPACE, "deploy/ambit-operator", "--", "ambit", "ledger")
    return cluster.kubectl(*operator, *arguments, accepted=accepted)


def test_a_lost_journal_is_restored_as_the_page_says(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.apply(namespace, a_budget("research", limits=[{"window": "Day", "usd": "5"}]))
    cluster.wait_ready(namespace, "budget/research")
    account = f"budget/{namespace}/research"
    audited = ("--reason", "a test", "--by", "ada")
    shell = Shell(cluster, tmp_path, namespace)
    (backup,) = commands("## Backup and restore")
    stop, aside, restore, start, resume = commands(PROCEDURE)

    def spent() -> str:
        (limit,) = cluster.get("budget", "research", "--namespace", namespace)["status"].get("limits", [{"usage": []}])
        return "".join(usage["spent"] for usage in limit["usage"])

    def ready() -> str:
        conditions = cluster.get("budget", "research", "--namespace", namespace)["status"]["conditions"]
        return next(each["message"] for each in conditions if each["type"] == "Ready")

    change(cluster, "adjust", account, "usd", "--amount", "1.5", *audited)
    shell.run(backup)
    change(cluster, "adjust", account, "usd", "--amount", "0.7", *audited)
    try:
        shell.run(stop)
        shell.run(aside)
        looks = shell.run(restore)
        assert re.search(r"^\d+ accounts, \d+ records, up to batch \d+$", looks, re.MULTILINE)
        # What is in the backup, and what the old journal still knew: the difference is what is to be said.
        assert re.findall(r'"spent": (\d+),\n *"held"', looks) == ["1500000000", "2200000000"]
        shell.run(start)
        cluster.wait("the Budget says why nothing is admitted", lambda: "ambit ledger resume" in ready())
        shell.run(resume)
    finally:
        # Whatever failed: the next test finds a ledger that admits.
        cluster.kubectl("delete", "pod", "ledger-restore", "-n", NAMESPACE, "--ignore-not-found", "--now")
        cluster.kubectl("scale", "deployment", "ambit-ledger", "-n", NAMESPACE, "--replicas=1")
        cluster.kubectl("rollout", "status", "deployment/ambit-ledger", "-n", NAMESPACE, "--timeout=240s")
        change(cluster, "resume", "--forget", *audited, accepted=(0, 1))
        there = ("exec", "-n", NAMESPACE, "deploy/ambit-ledger", "--")
        cluster.kubectl(*there, "rm", "-rf", "/var/lib/ambit/before-restore")
    cluster.wait("the Budget shows all of it", lambda: spent() == "2.20")

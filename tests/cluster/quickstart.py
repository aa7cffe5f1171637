"""The quickstart's two Agents at work in a namespace of a test's own, with the demo's language model."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ambit.api.budget import ResourceName
from ambit.api.quantities import format_usd_nanos, parse_usd_nanos
from e2e.cluster.progress import Progress
from e2e.demo import steps
from e2e.demo.sessions import Session, read_event, read_session
from e2e.demo.standings import Standing, read_standings
from e2e.install import Kubectl
from tests.cluster.conftest import AMBIT, Cluster, Manifest

AGENTS: Final = ("researcher", "coder")
ROUND: Final = {
    "researcher": re.compile(r"^(\[\d+\]| →) ", re.MULTILINE),
    "coder": re.compile(r"^\w+: (committed|broke the tests|nothing new|the model had nothing)", re.MULTILINE),
}
"""What an Agent says whenever it has had an answer and goes on to its next question."""


@dataclass(frozen=True)
class Known:
    """A session as `ambit sessions --all` lists it. `state`: `Open`, or why it ended."""

    state: str
    usd_nanos: int


class Running:
    """One session under way, as `ambit run` shows it; its output is kept in `folder`."""

    def __init__(self, agent: str, command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self.agent = agent
        self._events, self._said = folder / "events", folder / "said"
        with self._events.open("w") as events, self._said.open("w") as said:
            self._process = subprocess.Popen(command, env=environment, stdout=events, stderr=said)

    def lines(self) -> list[str]:
        """The events so far, one a line."""
        whole, _, _ = self._events.read_text().rpartition("\n")
        return whole.splitlines()

    @property
    def id(self) -> str:
        """Of the session that was opened."""
        return str(read_event(self.lines()[0])["id"])

    @property
    def output(self) -> str:
        """What the Agent has written so far."""
        return "".join(str(event.get("data", "")) for event in map(read_event, self.lines()))

    @property
    def said(self) -> str:
        """What the command said to the person."""
        return self._said.read_text()

    @property
    def rounds(self) -> int:
        """How many answers of the model it has told of."""
        return len(ROUND[self.agent].findall(self.output))

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def session(self) -> Session:
        """How it ended. Raises UnreadableEvents where the command was not told."""
        return read_session(self.lines())

    def interrupt(self) -> None:
        """As Ctrl-C does: the session is killed, and the command shows its end."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """The command is no more; without its caller the session is ended."""
        self._process.kill()
        self._process.wait()


class Quickstart:
    """examples/quickstart in `namespace`, at work. Every wait looks at the Budgets, too."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._folder = folder
        self.started: list[Running] = []
        self.broken: list[Standing] = []
        """Every reading of a Budget at which spent + held was above the limit."""

    def start(self, agent: str) -> Running:
        """A session, with the demo's own input."""
        folder = self._folder / f"{len(self.started)}-{agent}"
        folder.mkdir()
        command = [AMBIT, "run", "--output", "json", f"{self.namespace}/{agent}", steps.INPUTS[agent]]
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.installed.kubeconfig)}
        running = Running(agent, command, environment, folder)
        self.started.append(running)
        return running

    def standings(self) -> tuple[Standing, ...]:
        """Both Budgets as their status says."""
        standings = read_standings(self.cluster.get("budgets", "--namespace", self.namespace))
        self.broken += [standing for standing in standings if not standing.holds]
        return standings

    def money(self, budget: str) -> Standing:
        """How a Budget's limit on US dollars stands."""
        (found,) = (each for each in self.standings() if (each.budget, each.resource) == (budget, ResourceName.USD))
        return found

    def limit_team(self, usd_nanos: int) -> None:
        """Edits the team's limit, as an administrator would."""
        limit = f'{{"spec":{{"limits":[{{"window":"Day","usd":"{format_usd_nanos(usd_nanos)}"}}]}}}}'
        self.cluster.kubectl("patch", "budget", "team", "--namespace", self.namespace, "--type=merge", "--patch", limit)

    def wait(self, what: str, condition: Callable[[], bool], within_s: float = 240) -> None:
        """As `Cluster.wait`; where it fails it tells what the sessions had come to."""

        def looked_at() -> bool:
            self.standings()
            return condition()

        try:
            self.cluster.wait(what, looked_at, within_s)
        except AssertionError as error:
            told = [
                f"{each.agent}: exit {each.exit_code}, {each.said} …{each.output[-300:]!r}" for each in self.started
            ]
            raise AssertionError("\n".join([str(error), *told])) from error

    def known(self) -> dict[str, Known]:
        """Every session that the ledger knows, by its id."""
        shown = self.cluster.ambit("sessions", self.namespace, "--all").stdout.splitlines()
        rows = [re.split(r" {3,}", line) for line in shown[1:]]
        return {row[0].rpartition("/")[2]: Known(row[3], parse_usd_nanos(row[8])) for row in rows}

    def isolates_running(self) -> float:
        """How many sessions the isolate host itself says that it runs."""
        source = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
        said = self.cluster.kubectl(
            *("exec", "--namespace", self.namespace, "default-isolate-host-0", "--", "python3", "-c", source)
        )
        (value,) = re.findall(r"^ambit_isolate_sessions (\S+)$", said, re.MULTILINE)
        return float(value)

    def unfinished(self) -> list[str]:
        """The Sandboxes and the Pods of sessions that have not come to an end."""
        here = ("--namespace", self.namespace)
        pods: list[Manifest] = self.cluster.get("pods", *here, "--selector", "ambit.dev/component=sandbox")["items"]
        sandboxes: list[Manifest] = self.cluster.get("sandboxes", *here)["items"]
        return [
            *(_name(pod) for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")),
            *(_name(sandbox) for sandbox in sandboxes if not _is_finished(sandbox)),
        ]


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _is_finished(sandbox: Manifest) -> bool:
    conditions = sandbox.get("status", {}).get("conditions", [])
    return any(found["type"] == "Finished" and found["status"] == "True" for found in conditions)


@contextmanager
def at_work(cluster: Cluster, namespace: str, folder: Path) -> Generator[Quickstart]:
    """The quickstart in `namespace`, ready, with nobody at work yet; no session is left running."""
    progress = Progress()
    kubectl = Kubectl.of(cluster.installed.kubeconfig, progress)
    steps.serve_the_model(kubectl, cluster.installed.images, folder, progress)
    steps.apply_quickstart(kubectl, namespace, cluster.installed.images, folder, progress)
    quickstart = Quickstart(cluster, namespace, folder)
    try:
        yield quickstart
    finally:
        for running in quickstart.started:
            running.stop()

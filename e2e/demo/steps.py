"""What the demo does, step by step."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from e2e.cluster.commands import wait_until
from e2e.cluster.errors import CommandFailed
from e2e.cluster.progress import Progress
from e2e.cluster.provider import Wanted
from e2e.demo import overlay, real_providers
from e2e.demo.checks import ENVIRONMENTS, Seen
from e2e.demo.sessions import Session, UnreadableEvents, read_event, read_session
from e2e.demo.standings import Standing, read_standings, running_pods
from e2e.demo.tools import AMBIT, Cluster, DemoFailed, Lines
from e2e.images.catalogue import REPOSITORY
from e2e.install import NAMESPACE as CONTROL_PLANE
from e2e.install import Kubectl, uninstall_chart

MODELS: Final = "ambit-models"
OF_THE_DEMO: Final = "ambit.dev/demo=true"
"""The label of every namespace that a run makes."""
INPUTS: Final = {
    "researcher": "Why do bridges have arches?",
    "coder": "Document the library, function by function, and commit each change.",
}
IMAGES: Final = ("ambit", "ambit-isolate-host", "example-coder", "example-model-server")
SESSIONS_LIMIT_S: Final = 900
SETTLED_LIMIT_S: Final = 60
SAMPLE_EVERY_S: Final = 2.0


def bring_up(cluster: Cluster) -> Path:
    """The cluster, started if it is not there; the path of its kubeconfig."""
    cluster.provider.up(Wanted(nodes=1, fake_nodes=0))
    return cluster.provider.kubeconfig()


def serve_the_model(kubectl: Kubectl, references: Mapping[str, str], state: Path, progress: Progress) -> None:
    """The language model, in its own namespace, ready."""
    with progress.step("start the language model"):
        folder = state / "model-server"
        overlay.write(folder, REPOSITORY / "examples" / "model-server", references, None)
        kubectl.run("apply", "--kustomize", str(folder))
        kubectl.run("rollout", "status", "deployment/model-server", "--namespace", MODELS, "--timeout", "5m")


def forget_earlier_runs(kubectl: Kubectl, progress: Progress) -> None:
    """The namespaces of earlier runs go, with all that is in them: two cores have room for one run."""
    with progress.step("remove what an earlier run left"):
        kubectl.run("delete", "namespace", "--selector", OF_THE_DEMO, "--ignore-not-found", "--timeout", "3m")


def make_namespace(kubectl: Kubectl) -> str:
    """A namespace for this run; its name."""
    namespace = f"demo-{secrets.token_hex(3)}"
    kubectl.run("create", "namespace", namespace)
    kubectl.run("label", "namespace", namespace, OF_THE_DEMO)
    return namespace


def add_real_providers(
    cluster: Cluster, kubectl: Kubectl, namespace: str, environ: Mapping[str, str], progress: Progress
) -> None:
    """A route to each real provider whose key is in `environ`, where the cluster has a way out. No key is shown."""
    given = real_providers.credentials(environ)
    if not given:
        return
    if cluster.provided_by == "embedded":
        variables = " and ".join(credential.provider.variable for credential in given)
        progress.say(f"  {variables} set, but the embedded cluster has no way out: no route to the real provider here")
        return
    # Created, not applied, and through stdin: the key is in no annotation, no file and no list of processes.
    objects = {"apiVersion": "v1", "kind": "List", "items": real_providers.manifests(given)}
    try:
        kubectl.run("create", "--namespace", namespace, "--filename", "-", stdin=json.dumps(objects))
    except CommandFailed as error:
        raise DemoFailed(real_providers.without_keys(str(error), given)) from None
    for provider in (credential.provider for credential in given):
        progress.say(
            f"  ModelRoute {provider.name}: {provider.model} at {provider.url}; an Agent's spec.models names it"
        )


def apply_quickstart(
    kubectl: Kubectl, namespace: str, references: Mapping[str, str], state: Path, progress: Progress
) -> None:
    """The quickstart in `namespace`, and all that is there ready."""
    folder = state / namespace
    overlay.write(folder, REPOSITORY / "examples" / "quickstart", references, namespace)
    progress.say(f"  kubectl apply --kustomize {folder}")
    kubectl.run("apply", "--kustomize", str(folder))
    with progress.step("wait until all of it is ready"):
        kinds = "budgets,modelroutes,sandboxpools,agents"
        kubectl.run("wait", "--for=condition=Ready", kinds, "--all", "--namespace", namespace, "--timeout", "3m")


def run_sessions(
    kubectl: Kubectl, kubeconfig: Path, namespace: str, progress: Progress
) -> tuple[tuple[Session, ...], tuple[tuple[Standing, ...], ...]]:
    """Both Agents side by side until both sessions have ended; the sessions, and the Budgets' readings meanwhile."""
    environment = {"KUBECONFIG": str(kubeconfig)}
    running: dict[str, Lines] = {}
    samples: list[tuple[Standing, ...]] = []
    deadline = time.monotonic() + SESSIONS_LIMIT_S
    try:
        for agent in ENVIRONMENTS:
            command = [AMBIT, "run", "--output", "json", f"{namespace}/{agent}", INPUTS[agent]]
            running[agent] = Lines(command, environment, _Speaker(agent, progress))
        while not all(lines.ended for lines in running.values()):
            if time.monotonic() > deadline:
                late = ", ".join(agent for agent, lines in running.items() if not lines.ended)
                raise DemoFailed(f"after {SESSIONS_LIMIT_S} s the session of {late} still had not ended")
            samples.append(_standings(kubectl, namespace))
            time.sleep(SAMPLE_EVERY_S)
    finally:
        for lines in running.values():
            lines.stop()
    try:
        return tuple(read_session(lines.lines) for lines in running.values()), tuple(samples)
    except UnreadableEvents as error:
        raise DemoFailed(str(error)) from error


def look(
    kubectl: Kubectl,
    namespace: str,
    ran: tuple[tuple[Session, ...], tuple[tuple[Standing, ...], ...]],
    progress: Progress,
) -> Seen:
    """All that is to be judged, once the ledger has settled and the Pods are gone (or did not go in time)."""
    sessions, samples = ran
    ids = [session.id for session in sessions]

    def settled() -> bool:
        standings = _standings(kubectl, namespace)
        pods = _running_pods(kubectl, namespace)
        return not any(standing.held for standing in standings) and not any(each in pod for each in ids for pod in pods)

    with progress.step("wait until everything is settled"):
        wait_until(settled, SETTLED_LIMIT_S)
    final = _standings(kubectl, namespace)
    return Seen(namespace, sessions, samples, final, _running_pods(kubectl, namespace))


def state_folder(cluster: Cluster) -> Path:
    """Where the applied files stay until the demo is removed, so that the commands shown can be repeated."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ambit" / "demo" / cluster.name


def remove(cluster: Cluster, progress: Progress) -> None:
    """All that the demo made; of a cluster that is not ours, only what is ours in it."""
    shutil.rmtree(state_folder(cluster), ignore_errors=True)
    if cluster.provided_by != "current":
        cluster.provider.down()
        return
    kubeconfig = cluster.provider.kubeconfig()
    kubectl = Kubectl.of(kubeconfig, progress)
    forget_earlier_runs(kubectl, progress)
    uninstall_chart(kubeconfig, progress)
    with progress.step("remove the language model and the control plane's namespace"):
        kubectl.run("delete", "namespace", MODELS, CONTROL_PLANE, "--ignore-not-found", "--timeout", "3m")


class _Speaker:
    """Shows a session's output as it comes, a line at a time, under its Agent's name."""

    def __init__(self, agent: str, progress: Progress) -> None:
        self._agent = agent
        self._progress = progress
        self._unfinished = ""

    def __call__(self, line: str) -> None:
        try:
            event = read_event(line)
        except UnreadableEvents:
            self._progress.say(f"  {self._agent} │ {line.rstrip()}")
            return
        *lines, self._unfinished = (self._unfinished + str(event.get("data", ""))).split("\n")
        for said in lines:
            self._progress.say(f"  {self._agent:10} │ {said}")


def _standings(kubectl: Kubectl, namespace: str) -> tuple[Standing, ...]:
    return read_standings(kubectl.get("budgets", "--namespace", namespace))


def _running_pods(kubectl: Kubectl, namespace: str) -> tuple[str, ...]:
    return running_pods(kubectl.get("pods", "--namespace", namespace))

"""SIGKILL of each process while sessions run: work resumes or ends with a reason, no limit is passed, no orphan."""

import os
import signal
from pathlib import Path

import pytest

from ambit.api.quantities import parse_count, parse_duration_ms, parse_usd_nanos
from tests.cluster.conftest import Cluster, Manifest
from tests.cluster.manifests import (
    a_budget,
    a_container,
    a_pool,
    a_route,
    an_agent,
    an_isolate,
    code,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CALLS_UNTIL_REFUSED = """
export default {
  async fetch(request, env) {
    const body = JSON.stringify({model: "scripted", max_tokens: 64, messages: [{role: "user", content: "go on"}]});
    const headers = {"content-type": "application/json"};
    const lines = new TransformStream();
    const writer = lines.writable.getWriter();
    const say = text => writer.write(new TextEncoder().encode(text + "\\n"));
    (async () => {
      for (let call = 1; ; call++) {
        const answer = await fetch(env.OPENAI_BASE_URL + "/chat/completions", {method: "POST", body, headers});
        await answer.text();
        await say(`${call} ${answer.status}`);
        if (answer.status === 402) break;
        await new Promise(resolve => setTimeout(resolve, 200));
      }
      await writer.close();
    })();
    return new Response(lines.readable);
  }
};
"""
CONTAINER_CALLS = """
import json, os, time, urllib.error, urllib.request
body = json.dumps({"model": "scripted", "max_tokens": 64, "messages": [{"role": "user", "content": "go on"}]}).encode()
headers = {"content-type": "application/json", "authorization": "Bearer " + os.environ["AMBIT_TOKEN"]}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    call = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    try:
        status = opener.open(call, timeout=60).status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        status = type(error).__name__
    print(status, flush=True)
    if status == 402:
        break
    time.sleep(0.2)
"""


def processes_of(pod_uid: str, needle: str) -> list[int]:
    """Host pids of a pod's processes whose command line has `needle`. The pod's UID is in their cgroup's path."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if pod_uid in (folder / "cgroup").read_text() and needle in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


def kill_component(cluster: Cluster, component: str) -> None:
    """SIGKILL to the process of a control-plane pod, from outside its namespaces."""
    selector = f"ambit.dev/component={component}"
    pods: list[Manifest] = cluster.get("pods", "--namespace", "ambit-system", "--selector", selector)["items"]
    for pod in pods:
        pids = processes_of(pod["metadata"]["uid"], component)
        assert pids, f"no process of {component} was found"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def kill_in_host(cluster: Cluster, namespace: str, needle: str) -> None:
    """SIGKILL to a process inside an isolate host: done inside, since the machine sees none of gVisor's processes."""
    source = (
        "import os, signal, pathlib\n"
        "for p in pathlib.Path('/proc').iterdir():\n"
        "    if p.name.isdigit() and int(p.name) != os.getpid():\n"
        f"        if {needle!r} in (p / 'cmdline').read_text(): os.kill(int(p.name), signal.SIGKILL)\n"
    )
    # Where it ends the container, it ends itself with it: 137.
    cluster.kubectl(
        *("exec", "--namespace", namespace, "default-isolate-host-0", "--", "python3", "-c", source), accepted=(0, 137)
    )


def budget_state(cluster: Cluster, namespace: str, name: str = "team") -> list[Manifest]:
    budget = cluster.get("budget", name, "--namespace", namespace)
    return [usage for limit in budget["status"]["limits"] for usage in limit["usage"]]


READERS = {
    "modelCalls": parse_count,
    "tokens": parse_count,
    "usd": parse_usd_nanos,
    "runtime": parse_duration_ms,
}


def within_limits(cluster: Cluster, namespace: str) -> bool:
    """Whether spent + held is at most the limit, of each resource, at both Budgets."""
    return all(
        read(usage["spent"]) + read(usage["held"]) <= read(usage["limit"])
        for name in ("organisation", "team")
        for usage in budget_state(cluster, namespace, name)
        for read in [READERS[usage["resource"]]]
    )


def calls_spent(cluster: Cluster, namespace: str) -> int:
    return next(int(u["spent"]) for u in budget_state(cluster, namespace) if u["resource"] == "modelCalls")


TEAM_LIMIT: Manifest = {"window": "Lifetime", "modelCalls": "60", "usd": "1", "tokens": "1M", "runtime": "30m"}


@pytest.fixture
def team(cluster: Cluster, scripted_model: str, namespace: str) -> str:
    """An isolate Agent and a container Agent that call a scripted model until their Budget of 60 calls refuses them."""
    image = cluster.installed.images["ambit-workspace"]
    cluster.apply(
        namespace,
        a_budget("organisation", limits=[{"window": "Lifetime", "modelCalls": "100", "usd": "1"}]),
        a_budget("team", parent="organisation", limits=[TEAM_LIMIT]),
        a_route(),
        a_pool(),
        code(CALLS_UNTIL_REFUSED),
        an_agent("isolate", an_isolate()),
        an_agent("container", a_container(image, "python3", "-c", CONTAINER_CALLS)),
    )
    cluster.wait_ready(namespace, "agent/isolate", "agent/container", "sandboxpool/default", within_s=120)
    return namespace


def no_session_is_open(cluster: Cluster, namespace: str) -> bool:
    """Isolate sessions, too: the ledger is the only registry of sessions."""
    return "no open sessions" in cluster.ambit("sessions", namespace).stderr


def nothing_runs(cluster: Cluster, namespace: str) -> bool:
    pods = cluster.get("pods", "--namespace", namespace, "--selector", "ambit.dev/component=sandbox")["items"]
    return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods)


@pytest.mark.parametrize("component", ["operator", "gateway", "ledger"])
def test_killing_a_part_of_the_control_plane_overspends_nothing(cluster: Cluster, team: str, component: str) -> None:
    sessions = [cluster.start(f"{team}/{agent}", "") for agent in ("isolate", "container")]
    try:
        cluster.wait("both have begun", lambda: calls_spent(cluster, team) >= 8, within_s=90)
        kill_component(cluster, component)
        cluster.kubectl(
            "rollout", "status", f"deployment/ambit-{component}", "--namespace", "ambit-system", "--timeout=120s"
        )
        for session in sessions:
            session.communicate(timeout=180)
    finally:
        for session in sessions:
            session.kill()
            session.wait()
    cluster.wait("nothing runs any more", lambda: nothing_runs(cluster, team), within_s=180)
    cluster.wait("no session is open at the ledger", lambda: no_session_is_open(cluster, team), within_s=180)
    assert within_limits(cluster, team)
    # What the ledger acknowledged is still there, and new work is admitted or refused by it.
    assert calls_spent(cluster, team) >= 8
    again = cluster.run(f"{team}/isolate", "")
    assert again.output.splitlines()[-1].endswith(" 402"), again
    cluster.wait(
        "all of the Budget is spent, and no more",
        lambda: calls_spent(cluster, team) == 60,
        within_s=60,
    )


@pytest.mark.parametrize("needle", ["workerd", "isolate-host"])
def test_killing_the_shard_or_its_supervisor_ends_the_session_with_a_reason(
    cluster: Cluster, team: str, needle: str
) -> None:
    session = cluster.start(f"{team}/isolate", "")
    try:
        cluster.wait("it has begun", lambda: calls_spent(cluster, team) >= 3, within_s=60)
        kill_in_host(cluster, team, needle)
        _, said = session.communicate(timeout=120)
    finally:
        session.kill()
        session.wait()
    assert session.returncode != 0
    assert "HostLost" in said
    assert within_limits(cluster, team)
    # Until the pod is seen to have restarted, a session may still be placed there: it is told so, and nothing else.
    cluster.wait("sessions run to their end again", lambda: ran_until_refused(cluster, team), within_s=120)


def ran_until_refused(cluster: Cluster, team: str) -> bool:
    session = cluster.run(f"{team}/isolate", "", within_s=180)
    if session.output.rstrip().endswith(" 402"):
        return True
    assert any(said in session.said for said in ("HostLost", "StartFailed", "has no host that is ready")), session
    return False

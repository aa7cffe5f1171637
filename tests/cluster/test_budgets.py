"""What each field of a Budget, and of an Agent's bounds by user and by session, does to calls; written as YAML."""

import json
from typing import Any

import pytest

from tests.cluster.conftest import Cluster, Manifest
from tests.cluster.manifests import a_pool, a_route, an_agent, an_isolate, code, resource

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CALLER = """
export default {
  async fetch(request, env) {
    const { calls, lingerMs } = await request.json();
    const seen = [];
    for (let call = 0; call < calls; call++) {
      const answer = await fetch(`${env.OPENAI_BASE_URL}/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "scripted", max_tokens: 8, messages: [{ role: "user", content: "hello" }] }),
      });
      const { bound, account } = (await answer.json()).error ?? {};
      seen.push({
        status: answer.status,
        reason: answer.headers.get("x-ambit-reason"),
        warning: answer.headers.get("x-ambit-warning"),
        bound,
        account,
      });
    }
    const told = JSON.stringify(seen);
    if (!lingerMs) return new Response(told);
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    writer.write(new TextEncoder().encode(told)).then(() => setTimeout(() => writer.close(), lingerMs));
    return new Response(readable);
  },
};
"""
"""Makes so many calls one after the other, and tells what it got; then stays for a while."""

Seen = list[dict[str, Any]]


def set_up(cluster: Cluster, namespace: str, budget: Manifest, **agent: Any) -> str:
    """A Budget, and an Agent `caller` under it; the Agent's name as `ambit run` takes it."""
    manifests = [
        resource("Budget", "team", budget),
        *(a_route(), a_pool(), code(CALLER)),
        an_agent("caller", an_isolate(), **agent),
    ]
    cluster.apply(namespace, *manifests)
    cluster.wait_ready(namespace, "budget/team", "agent/caller", "sandboxpool/default", "modelroute/scripted")
    return f"{namespace}/caller"


def calls(cluster: Cluster, agent: str, number: int, *options: str) -> Seen:
    """What a session that makes so many calls was answered."""
    done = cluster.ambit("run", *options, agent, json.dumps({"calls": number}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def statuses(seen: Seen) -> list[int]:
    return [answer["status"] for answer in seen]


def limits(*limit: Manifest, **more: Any) -> Manifest:
    return {"limits": list(limit), **more}


@pytest.mark.usefixtures("scripted_model")
class TestBudget:
    """Each with a namespace, a Budget and an Agent of its own."""

    def test_the_call_after_a_share_of_a_limit_is_spent_carries_one_warning(
        self, cluster: Cluster, namespace: str
    ) -> None:
        agent = set_up(cluster, namespace, limits({"window": "Day", "modelCalls": 4}, warnAt=[50]))
        seen = calls(cluster, agent, 5)
        assert statuses(seen) == [200, 200, 200, 200, 402]
        warned = f"budget/{namespace}/team; resource=modelCalls; window=Day; percent=50"
        assert [answer["warning"] for answer in seen].count(warned) == 1
        assert all(answer["warning"] is None for answer in seen[:2])

    @pytest.mark.parametrize("window", ["Hour", "Week", "Month"])
    def test_a_window_refuses_by_its_name(self, cluster: Cluster, namespace: str, window: str) -> None:
        agent = set_up(cluster, namespace, limits({"window": window, "modelCalls": 1}))
        seen = calls(cluster, agent, 2)
        assert statuses(seen) == [200, 402]
        assert (seen[1]["bound"], seen[1]["account"]) == (f"modelCalls per {window}", f"budget/{namespace}/team")

    @pytest.mark.parametrize("resource_name", ["inputTokens", "outputTokens"])
    def test_input_and_output_are_limited_apart(self, cluster: Cluster, namespace: str, resource_name: str) -> None:
        """Room for one call's bound: what it left unused is not enough for a second."""
        room = {"inputTokens": 400, "outputTokens": 10}[resource_name]
        agent = set_up(cluster, namespace, limits({"window": "Day", resource_name: room}))
        seen = calls(cluster, agent, 20)
        assert seen[0]["status"] == 200
        assert (seen[-1]["status"], seen[-1]["bound"]) == (402, f"{resource_name} per Day")
        little = "{.status.conditions[?(@.type=='Ready')].reason}=TooLittleLeft"
        for each in ("budget/team", "agent/caller"):
            cluster.kubectl("wait", each, "--namespace", namespace, f"--for=jsonpath={little}", "--timeout=60s")
        shown = cluster.kubectl("get", "budget", "team", "--namespace", namespace)
        assert f"% {resource_name}/Day" in shown
        cluster.wait_ready(namespace, "agent/caller")

    def test_shadow_refuses_nothing_and_tells_what_it_would_have(self, cluster: Cluster, namespace: str) -> None:
        agent = set_up(cluster, namespace, limits({"window": "Day", "modelCalls": 1}, enforcement="Shadow"))
        assert statuses(calls(cluster, agent, 3)) == [200, 200, 200]
        cluster.kubectl(
            *("patch", "budget", "team", "--namespace", namespace, "--type=merge"),
            *("--patch", json.dumps({"spec": {"enforcement": "Enforce"}})),
        )
        enforced = "{.status.conditions[?(@.type=='Enforced')].observedGeneration}"
        cluster.kubectl(
            *("wait", "budget/team", "--namespace", namespace),
            *(f"--for=jsonpath={enforced}=2", "--timeout=240s"),
        )
        assert statuses(calls(cluster, agent, 1)) == [402]

    def test_a_top_up_is_applied_once(self, cluster: Cluster, namespace: str) -> None:
        agent = set_up(cluster, namespace, limits({"window": "Day", "modelCalls": 1}))
        assert statuses(calls(cluster, agent, 2)) == [200, 402]
        more = {"id": "extra", "window": "Day", "resource": "modelCalls", "amount": 1}
        for generation, top_ups in ((2, [more]), (3, []), (4, [more])):
            cluster.kubectl(
                *("patch", "budget", "team", "--namespace", namespace, "--type=merge"),
                *("--patch", json.dumps({"spec": {"topUps": top_ups}})),
            )
            enforced = "{.status.conditions[?(@.type=='Enforced')].observedGeneration}"
            cluster.kubectl(
                *("wait", "budget/team", "--namespace", namespace),
                *(f"--for=jsonpath={enforced}={generation}", "--timeout=240s"),
            )
        assert statuses(calls(cluster, agent, 2)) == [200, 402]

    def test_an_exhausted_budget_that_terminates_ends_its_sessions(self, cluster: Cluster, namespace: str) -> None:
        budget = limits({"window": "Day", "modelCalls": 1}, whenExhausted="Terminate")
        agent = set_up(cluster, namespace, budget)
        done = cluster.ambit("run", agent, json.dumps({"calls": 2, "lingerMs": 600_000}))
        assert done.returncode == 1
        assert "BudgetExhausted" in done.stderr
        assert "BudgetExhausted" in cluster.ambit("sessions", "--all", namespace).stdout

    def test_each_user_has_limits_of_their_own(self, cluster: Cluster, namespace: str) -> None:
        per_user = {"limits": [{"window": "Day", "modelCalls": 1}]}
        agent = set_up(cluster, namespace, limits({"window": "Day", "modelCalls": 100}), perUser=per_user)
        nobody = cluster.ambit("run", agent, json.dumps({"calls": 1}))
        assert nobody.returncode == 1
        assert "--user" in nobody.stderr
        seen = calls(cluster, agent, 2, "--user", "ada")
        assert statuses(seen) == [200, 402]
        assert seen[1]["account"] == f"user/{namespace}/caller/ada"
        assert statuses(calls(cluster, agent, 1, "--user", "ada")) == [402]
        assert statuses(calls(cluster, agent, 1, "--user", "grace")) == [200]

    @pytest.mark.parametrize("where", ["Budget", "Agent"])
    def test_no_more_sessions_at_once_than_are_allowed(self, cluster: Cluster, namespace: str, where: str) -> None:
        one = {"concurrentSessions": 1}
        day = {"window": "Day", "modelCalls": 100}
        agent = (
            set_up(cluster, namespace, limits(day, **one))
            if where == "Budget"
            else set_up(cluster, namespace, limits(day), **one)
        )
        first = cluster.start(agent, json.dumps({"calls": 0, "lingerMs": 600_000}))
        try:
            cluster.wait("the first session is open", lambda: "Open" in cluster.ambit("sessions", namespace).stdout)
            second = cluster.ambit("run", agent, json.dumps({"calls": 1}))
            assert second.returncode == 1
            assert f"concurrentSessions of {where.lower()}/{namespace}/" in second.stderr
        finally:
            first.terminate()
            first.communicate(timeout=180)
        assert statuses(calls(cluster, agent, 1)) == [200]

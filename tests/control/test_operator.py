"""The operator against a real apiserver and a real ledger; the kubelet is played by the test (see `rig`)."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ambit.kube import NotFound
from ambit.kube import resources as kinds
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.audit import AuditedLimits, entry_of
from ambit.ledger.journal.sources import source_of
from ambit.ledger.records import RecordKind
from ambit.telemetry.reasons import SessionEnd
from tests.control.rig import Json, Rig, ready_reason, stamp

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


async def usage(rig: Rig, session: str) -> wire.Usage:
    return await rig.ledger.usage(wire.GetUsage(f"session/{rig.namespace}/{session}"))


# -- Budgets and Agents --------------------------------------------------------


async def test_budgets_and_agents_become_accounts_whatever_the_order_they_come_in(rig: Rig) -> None:
    container = {"environment": {"container": {"image": "registry.example/coder:1"}}}
    await rig.create(kinds.AGENTS, "coder", container)
    await rig.until_reason(kinds.AGENTS, "coder", "NoBudget")
    await rig.a_budget("default", parentRef={"name": "organisation"})
    await rig.until_reason(kinds.BUDGETS, "default", "ParentNotFound")
    await rig.until_reason(kinds.AGENTS, "coder", "BudgetNotAccepted")
    await rig.a_budget("organisation", limits=[{"window": "Lifetime", "usd": "100"}])
    await rig.until_reason(kinds.AGENTS, "coder", "Ready")
    await rig.until_reason(kinds.BUDGETS, "default", "Ready")
    agent = await rig.ledger.usage(wire.GetUsage(f"agent/{rig.namespace}/coder"))
    assert agent.parent == f"budget/{rig.namespace}/default"
    budget = await rig.ledger.usage(wire.GetUsage(f"budget/{rig.namespace}/default"))
    assert budget.parent == f"budget/{rig.namespace}/organisation"


async def test_usage_is_mirrored_and_an_exhausted_budget_is_seen_at_its_agents(rig: Rig) -> None:
    await rig.a_budget("default", limits=[{"window": "Lifetime", "usd": "2"}, {"window": "Minute", "tokens": "1M"}])
    await rig.an_agent()
    path = f"session/{rig.namespace}/s-1"
    await rig.ledger.open(wire.Open(path, f"agent/{rig.namespace}/coder", grace_ms=60_000))
    await rig.ledger.reserve(
        wire.Reserve("h1", path, want=Amount(usd_nanos=10**9), at_least=Amount(usd_nanos=1), expires_in_ms=60_000)
    )

    def shows(spent: str, held: str) -> bool:
        return {"resource": "usd", "limit": "2", "spent": spent, "held": held} == {
            key: figures[0].get(key) for key in ("resource", "limit", "spent", "held")
        }

    figures: list[Json] = [{}]

    def mirrored(obj: Json, spent: str, held: str) -> bool:
        lifetime = [entry for entry in obj["status"].get("limits", []) if entry["window"] == "Lifetime"]
        figures[0] = lifetime[0]["usage"][0] if lifetime else {}
        return shows(spent, held)

    await rig.until(kinds.BUDGETS, "default", lambda obj: mirrored(obj, "0", "1"))
    await rig.until(kinds.AGENTS, "coder", lambda obj: obj["status"].get("sessions") == {"active": 1})
    await rig.ledger.settle(wire.Settle("h1", Amount(usd_nanos=2 * 10**9)))
    await rig.until(kinds.BUDGETS, "default", lambda obj: mirrored(obj, "2", "0"))
    exhausted = await rig.until_reason(kinds.BUDGETS, "default", "LimitExhausted")
    within = next(c for c in exhausted["status"]["conditions"] if c["type"] == "WithinBudget")
    assert within["message"] == "usd per Lifetime: 2 of 2 spent"
    agent = await rig.until_reason(kinds.AGENTS, "coder", "LimitExhausted")
    assert "usd per Lifetime: 2 of 2 spent" in next(
        c["message"] for c in agent["status"]["conditions"] if c["type"] == "Ready"
    )


async def test_a_budget_with_less_left_than_calls_need_says_so_until_there_is_room(rig: Rig) -> None:
    """A few cents are left, and every call needs more: refused with 402, while the Budget's figures show room."""
    await rig.a_budget("organisation", limits=[{"window": "Lifetime", "usd": "2"}])
    await rig.a_budget("default", limits=[{"window": "Day", "tokens": "1M"}], parentRef={"name": "organisation"})
    await rig.an_agent()
    path = f"session/{rig.namespace}/s-1"
    await rig.ledger.open(wire.Open(path, f"agent/{rig.namespace}/coder", grace_ms=60_000))

    async def call(hold: str, usd_nanos: int) -> wire.Granted | wire.Refused | wire.Wait:
        cost = Amount(usd_nanos=usd_nanos)
        return await rig.ledger.reserve(wire.Reserve(hold, path, want=cost, at_least=cost, expires_in_ms=60_000))

    assert isinstance(await call("spends", 1_970_000_000), wire.Granted)
    await rig.ledger.settle(wire.Settle("spends", Amount(usd_nanos=1_970_000_000)))
    await rig.until(kinds.BUDGETS, "organisation", lambda obj: obj["status"].get("tightest", {}).get("spent") == "1.97")
    assert (await rig.condition(kinds.BUDGETS, "organisation", "WithinBudget"))["status"] == "True"
    for number, cost in enumerate((70_000_000, 50_000_000)):
        assert isinstance(await call(f"refused-{number}", cost), wire.Refused)
    little = "usd per Lifetime: 0.03 of 2 left, and what was refused needed 0.05 or more"
    refusing = await rig.until(
        kinds.BUDGETS, "organisation", lambda obj: _ready_message(obj) == ("True", "TooLittleLeft", little)
    )
    assert (await rig.condition(kinds.BUDGETS, "organisation", "WithinBudget"))["status"] == "False"
    assert refusing["status"]["tightest"] == {"used": "98% usd/Lifetime", "spent": "1.97", "limit": "2"}
    assert ready_reason(await rig.client.get(kinds.BUDGETS, "default", rig.namespace)) == "Ready", "it has room itself"
    agent = await rig.until_reason(kinds.AGENTS, "coder", "TooLittleLeft")
    assert _ready_message(agent)[0] == "True", "what is smaller has room"
    assert isinstance(await call("small", 20_000_000), wire.Granted)
    await rig.ledger.release(wire.Release("small", "never sent"))

    async def told() -> list[str]:
        events = await rig.client.list(kinds.EVENTS, rig.namespace)
        return [event["note"] for event in events if event["reason"] == "TooLittleLeft" and _is_of_budget(event)]

    [note] = await told()
    assert note.startswith("usd per Lifetime: 0.03 of 2 left, and what was refused needed ")
    top_up = {"spec": {"topUps": [{"id": "more", "window": "Lifetime", "resource": "usd", "amount": "1"}]}}
    await rig.client.patch(kinds.BUDGETS, "organisation", top_up, rig.namespace)
    await rig.until_reason(kinds.BUDGETS, "organisation", "Ready")
    await rig.until_reason(kinds.AGENTS, "coder", "Ready")
    assert isinstance(await call("again", 50_000_000), wire.Granted)
    await _edit_limits(rig, "organisation", "4")
    assert _audited_limits(rig, "organisation") == [(1, 2 * 10**9), (3, 4 * 10**9)], "the top-up was generation 2"


async def _edit_limits(rig: Rig, budget: str, usd: str) -> None:
    spec = {"spec": {"limits": [{"window": "Lifetime", "usd": usd}]}}
    await rig.client.patch(kinds.BUDGETS, budget, spec, rig.namespace)
    generation = (await rig.client.get(kinds.BUDGETS, budget, rig.namespace))["metadata"]["generation"]
    await rig.until(kinds.BUDGETS, budget, lambda obj: obj["status"]["observedGeneration"] == generation)


def _audited_limits(rig: Rig, budget: str) -> list[tuple[int, int]]:
    """Of each change of the Budget's only limit: the generation that asked for it, and what it is."""
    with closing(source_of(str(rig.ledger_folder)).read()) as journal:
        records = [*journal.records(RecordKind.AUDIT, f"budget/{rig.namespace}/{budget}")]
    entries = [entry for record in records if isinstance(entry := entry_of(record), AuditedLimits)]
    return [(entry.generation, entry.limits[0].amount) for entry in entries]


def _ready_message(obj: Json) -> tuple[str, str, str]:
    ready = next(each for each in obj["status"]["conditions"] if each["type"] == "Ready")
    return ready["status"], ready["reason"], ready["message"]


def _is_of_budget(event: Json) -> bool:
    return event["regarding"]["kind"] == "Budget"


async def test_deletion_removes_the_account_and_kills_its_sessions_also_while_no_operator_ran(rig: Rig) -> None:
    await rig.a_budget()
    for name in ("seen", "unseen"):
        await rig.an_agent(name)
        await rig.ledger.open(
            wire.Open(f"session/{rig.namespace}/s-{name}", f"agent/{rig.namespace}/{name}", grace_ms=60_000)
        )
    await rig.client.delete(kinds.AGENTS, "seen", rig.namespace)
    await _until_ended(rig, "s-seen", SessionEnd.ACCOUNT_REMOVED)
    await rig.operator.kill()
    await rig.client.delete(kinds.AGENTS, "unseen", rig.namespace)
    assert (await usage(rig, "s-unseen")).closed_reason is None
    await rig.operator.start()
    await _until_ended(rig, "s-unseen", SessionEnd.ACCOUNT_REMOVED)


async def until_usage(rig: Rig, session: str, test: Callable[[wire.Usage], bool]) -> wire.Usage:
    deadline = time.monotonic() + 90
    while not test(seen := await usage(rig, session)):
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.05)
    return seen


async def _until_ended(rig: Rig, session: str, reason: SessionEnd) -> None:
    assert (await until_usage(rig, session, lambda seen: seen.closed_reason is not None)).closed_reason is reason


# -- Sandboxes -------------------------------------------------------------------


async def test_a_session_runs_to_its_end_and_leaves_nothing(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("one", agentRef={"name": "coder"}, input="hello")
    made = await rig.client.get(kinds.PODS, pod, rig.namespace)
    secret = await rig.client.get(kinds.SECRETS, f"{pod}-token", rig.namespace)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    policy = await rig.client.get(kinds.NETWORK_POLICIES, pod, rig.namespace)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["metadata"]["creationTimestamp"] <= made["metadata"]["creationTimestamp"]
    [hold] = (await usage(rig, pod)).holds
    assert (hold.id, hold.amount.runtime_ms) == (f"runtime/{rig.namespace}/{pod}", 30_000)

    began = datetime.now(UTC) - timedelta(seconds=4)
    started = began.strftime("%Y-%m-%dT%H:%M:%SZ")
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "one", "Running")
    await rig.kubelet.exits(pod, 3, started)
    ran_ms = (datetime.now(UTC) - began) / timedelta(milliseconds=1)
    done = (await rig.until_reason(kinds.SANDBOXES, "one", "Failed"))["status"]
    assert (done["exitCode"], done["message"]) == (3, "exited with code 3")
    ended = await usage(rig, pod)
    assert (ended.closed_reason, ended.holds) == (SessionEnd.FAILED, ())
    # Kubernetes gives whole seconds.
    assert 4_000 <= ended.spent.runtime_ms <= ran_ms + 2_000
    assert await rig.get(kinds.PODS, pod) is not None, "it is kept for its log"

    await rig.client.delete(kinds.SANDBOXES, "one", rig.namespace)
    await rig.until_gone(kinds.SANDBOXES, "one")
    for kind, name in ((kinds.NETWORK_POLICIES, pod), (kinds.SECRETS, f"{pod}-token"), (kinds.PODS, pod)):
        await rig.until_gone(kind, name)


async def test_a_runtime_bound_ends_the_container_before_it_is_exceeded(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent(bounds={"runtime": "6s"})
    pod = await rig.a_sandbox("bounded", agentRef={"name": "coder"})
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "bounded", "Running")
    stopping = await rig.until(kinds.PODS, pod, lambda obj: "deletionTimestamp" in obj["metadata"])
    assert stopping["metadata"]["deletionGracePeriodSeconds"] == 1
    await rig.kubelet.takes_away(pod, started)
    done = await rig.until_reason(kinds.SANDBOXES, "bounded", "RuntimeExhausted")
    within = next(c for c in done["status"]["conditions"] if c["type"] == "WithinBudget")
    assert within["status"] == "False"
    assert f"session/{rig.namespace}/{pod}" in within["message"]
    ended = await usage(rig, pod)
    assert ended.closed_reason is SessionEnd.RUNTIME_EXHAUSTED
    assert ended.spent.runtime_ms <= 6_000
    assert ended.overrun.runtime_ms == 0


async def test_a_kill_at_the_ledger_stops_the_pod_at_once(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("killed", agentRef={"name": "coder"})
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "killed", "Running")
    await rig.ledger.kill(wire.Kill(f"agent/{rig.namespace}/coder", "stop it", "alice"))
    await rig.until(kinds.PODS, pod, lambda obj: "deletionTimestamp" in obj["metadata"], within_s=8)
    await rig.kubelet.takes_away(pod, started)
    done = await rig.until_reason(kinds.SANDBOXES, "killed", "Killed")
    assert done["status"]["message"] == "stop it (by alice)" or "stop it" in done["status"]["message"]
    assert (await usage(rig, pod)).holds == ()


async def test_a_session_of_the_gateway_is_taken_over_and_a_foreign_one_is_not(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    agent = f"{rig.namespace}/coder"
    for session, environment in (("s-mine", "container"), ("s-isolate", "isolate")):
        attributes = {"agent": agent, "environment": environment}
        path = f"session/{rig.namespace}/{session}"
        await rig.ledger.open(wire.Open(path, f"agent/{agent}", grace_ms=60_000, attributes=attributes))
    pod = await rig.a_sandbox("s-mine", agentRef={"name": "coder"}, session="s-mine")
    assert pod == "s-mine"
    await rig.create(kinds.SANDBOXES, "s-isolate", {"agentRef": {"name": "coder"}, "session": "s-isolate"})
    await rig.until_reason(kinds.SANDBOXES, "s-isolate", "StartFailed")
    assert await rig.get(kinds.PODS, "s-isolate") is None


async def test_what_the_apiserver_or_the_node_refuses_is_said_word_for_word(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    await rig.create(kinds_quota(), "none", {"hard": {"pods": "0"}})
    await rig.create(kinds.SANDBOXES, "quota", {"agentRef": {"name": "coder"}})
    refused = await rig.until_reason(kinds.SANDBOXES, "quota", "Refused")
    message = next(c["message"] for c in refused["status"]["conditions"] if c["type"] == "Ready")
    assert "is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0" in message
    assert await rig.condition(kinds.AGENTS, "coder") is not None
    await rig.until_reason(kinds.AGENTS, "coder", "Refused")
    await rig.client.delete(kinds_quota(), "none", rig.namespace)
    started = await rig.until(kinds.SANDBOXES, "quota", lambda obj: "podName" in obj["status"])
    pod = started["status"]["podName"]
    await rig.kubelet.bind(pod)
    await rig.kubelet.waits(pod, "ErrImagePull", "failed to resolve reference: not found")
    failed = await rig.until_reason(kinds.SANDBOXES, "quota", "ImagePullFailed")
    message = next(c["message"] for c in failed["status"]["conditions"] if c["type"] == "Ready")
    assert message == "image registry.example/coder:1: failed to resolve reference: not found"
    await rig.until_reason(kinds.AGENTS, "coder", "ImagePullFailed")
    events = await rig.client.list(kinds.EVENTS, rig.namespace)
    told = [event["reason"] for event in events if event["regarding"]["name"] == "quota"]
    assert sorted(set(told) - {"Scheduling"}) == ["ImagePullFailed", "Refused"]
    assert len(told) == len(set(told)), "each once"


def kinds_quota() -> kinds.Resource:
    return kinds.Resource("", "v1", "resourcequotas", "ResourceQuota")


async def test_the_pod_is_admitted_under_restricted_pod_security(rig: Rig) -> None:
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    await rig.client.patch(kinds.NAMESPACES, rig.namespace, {"metadata": {"labels": enforce}})
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("restricted", agentRef={"name": "coder"})
    assert await rig.get(kinds.PODS, pod) is not None


async def test_a_pod_of_the_same_name_that_is_not_ours_is_not_touched(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    foreign = {"containers": [{"name": "x", "image": "x"}]}
    await rig.create(kinds.PODS, "s-taken", foreign)
    await rig.create(kinds.SANDBOXES, "s-taken", {"agentRef": {"name": "coder"}, "session": "s-taken"})
    await rig.until_reason(kinds.SANDBOXES, "s-taken", "NameTaken")
    untouched = await rig.client.get(kinds.PODS, "s-taken", rig.namespace)
    assert "deletionTimestamp" not in untouched["metadata"]
    assert "ownerReferences" not in untouched["metadata"]


async def test_deleting_a_running_sandbox_ends_its_session_before_it_goes(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("going", agentRef={"name": "coder"})
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "going", "Running")
    await rig.operator.kill()
    await rig.client.delete(kinds.SANDBOXES, "going", rig.namespace)
    assert await rig.get(kinds.SANDBOXES, "going") is not None, "the finalizer keeps it"
    await rig.operator.start()
    await rig.until(kinds.PODS, pod, lambda obj: "deletionTimestamp" in obj["metadata"])
    assert await rig.get(kinds.SANDBOXES, "going") is not None, "its Pod still stops"
    await rig.kubelet.takes_away(pod, started)
    await rig.until_gone(kinds.SANDBOXES, "going")
    ended = await usage(rig, pod)
    assert (ended.closed_reason, ended.holds) == (SessionEnd.KILLED, ())


async def test_a_finished_sandbox_is_deleted_after_its_time(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("short", agentRef={"name": "coder"}, ttlAfterFinished="1s")
    started = stamp()
    await rig.kubelet.run(pod, started)
    await rig.kubelet.exits(pod, 0, started)
    await rig.until_gone(kinds.SANDBOXES, "short")


# -- crashes -----------------------------------------------------------------------


async def test_a_restarted_operator_goes_on_with_the_same_hold_and_the_same_pod(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("goes-on", agentRef={"name": "coder"})
    before = await rig.client.get(kinds.PODS, pod, rig.namespace)
    started = (datetime.now(UTC) - timedelta(seconds=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await rig.kubelet.run(pod, started)
    await rig.until_reason(kinds.SANDBOXES, "goes-on", "Running")
    await rig.operator.kill()
    await rig.operator.start()

    renewed = await until_usage(rig, pod, lambda seen: seen.holds[0].amount.runtime_ms == 60_000)
    [hold] = renewed.holds
    assert hold.id == f"runtime/{rig.namespace}/{pod}"
    after = await rig.client.get(kinds.PODS, pod, rig.namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "deletionTimestamp" not in after["metadata"]


async def test_killed_at_any_instant_it_neither_doubles_nor_leaks(rig: Rig) -> None:
    """Twelve Sandboxes while the operator is killed again and again; each gets one Pod, one hold and one token."""
    await rig.a_budget()
    await rig.an_agent()
    names = [f"n{number}" for number in range(12)]
    delays = iter((0.9, 1.1, 1.3, 1.5, 1.7, 2.0))
    creating = asyncio.gather(*(rig.create(kinds.SANDBOXES, name, {"agentRef": {"name": "coder"}}) for name in names))
    for delay in delays:
        await rig.operator.kill()
        await rig.operator.start()
        await asyncio.sleep(delay)  # not a wait for a condition: an arbitrary instant of the start is what is tried
    await creating
    pods = [
        (await rig.until(kinds.SANDBOXES, name, lambda obj: "podName" in obj.get("status", {})))["status"]["podName"]
        for name in names
    ]
    there = await rig.client.list(kinds.PODS, rig.namespace)
    assert sorted(pod["metadata"]["name"] for pod in there) == sorted(pods)
    for pod in pods:
        assert len((await usage(rig, pod)).holds) == 1
        await rig.until(kinds.SECRETS, f"{pod}-token", bool)
    for name in names:
        await rig.client.delete(kinds.SANDBOXES, name, rig.namespace)
    await rig.operator.kill()
    await rig.operator.start()
    for name in names:
        await rig.until_gone(kinds.SANDBOXES, name)
    for pod in pods:
        assert (await usage(rig, pod)).holds == ()


async def test_while_the_ledger_is_away_nothing_starts_and_then_it_goes_on(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    await rig.ledger_server.kill()
    await rig.create(kinds.SANDBOXES, "waits", {"agentRef": {"name": "coder"}})
    await rig.until_reason(kinds.SANDBOXES, "waits", "LedgerAway")
    assert await rig.client.list(kinds.PODS, rig.namespace) == []
    await rig.restart_ledger()
    await rig.until(kinds.SANDBOXES, "waits", lambda obj: "podName" in obj.get("status", {}))


# -- rest ----------------------------------------------------------------------------


async def test_at_rest_nothing_is_written_and_users_labels_are_kept(rig: Rig) -> None:
    await rig.a_budget()
    await rig.an_agent()
    pod = await rig.a_sandbox("runs", agentRef={"name": "coder"})
    await rig.kubelet.run(pod)
    await rig.until_reason(kinds.SANDBOXES, "runs", "Running")
    objects = ((kinds.BUDGETS, "default"), (kinds.AGENTS, "coder"), (kinds.SANDBOXES, "runs"))
    await rig.until(kinds.AGENTS, "coder", lambda obj: obj["status"].get("sessions") == {"active": 1})
    for kind, name in objects:
        await rig.client.patch(kind, name, {"metadata": {"labels": {"team": "a"}}}, rig.namespace)
    before = [await rig.client.get(kind, name, rig.namespace) for kind, name in objects]
    # A restart makes every object be looked at again; the marker is handled after all of them.
    await rig.operator.kill()
    await rig.operator.start()
    await rig.a_budget("marker")
    await rig.until_reason(kinds.BUDGETS, "marker", "Ready")
    await rig.create(kinds.SANDBOXES, "marker", {"agentRef": {"name": "absent"}})
    await rig.until_reason(kinds.SANDBOXES, "marker", "AgentNotFound")
    for (kind, name), then in zip(objects, before, strict=True):
        now = await rig.client.get(kind, name, rig.namespace)
        assert now["status"] == then["status"]
        assert now["metadata"]["resourceVersion"] == then["metadata"]["resourceVersion"], "not even there and back"
        assert now["metadata"]["labels"] == {"team": "a"}
        assert ready_reason(now) in ("Ready", "Running")


async def test_sigterm_ends_it_cleanly(rig: Rig) -> None:
    await rig.a_budget()
    await rig.until_reason(kinds.BUDGETS, "default", "Ready")
    assert await rig.operator.stop() == 0


async def test_the_keys_are_made_once(rig: Rig) -> None:
    await rig.a_budget()
    await rig.until_reason(kinds.BUDGETS, "default", "Ready")
    names = ("ambit-session-signer", "ambit-gateway-signer", "ambit-gateway-tls")
    before = [await rig.client.get(kinds.SECRETS, name, rig.control_namespace) for name in names]
    trust = await rig.client.get(kinds.CONFIG_MAPS, "ambit-trust", rig.control_namespace)
    assert set(trust["data"]) == {"session-signer.pem", "gateway-signer.pem", "gateway-ca.pem"}
    await rig.operator.kill()
    await rig.operator.start()
    await rig.a_budget("second")
    await rig.until_reason(kinds.BUDGETS, "second", "Ready")
    assert before == [await rig.client.get(kinds.SECRETS, name, rig.control_namespace) for name in names]
    with pytest.raises(NotFound):
        await rig.client.get(kinds.SECRETS, "ambit-session-signer", rig.namespace)

"""Sessions of isolate Agents, opened by people over TLS: real apiserver, ledger, isolate host."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ambit.kube.resources import CONFIG_MAPS
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.telemetry import metrics
from ambit.telemetry.reasons import SessionEnd
from tests.gateway_sessions.rig import Rig, a_host_of, a_rig, a_rig_with_host, events, output
from tests.isolates.host import Host, until
from tests.telemetry.in_memory import in_memory

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ECHO = "export default { async fetch(request) { return new Response('you said: ' + await request.text()); } }"
FAILS = "export default { async fetch() { throw new Error('out of ideas'); } }"
TALKS_FOR_EVER = """
export default { async fetch() {
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  const encoder = new TextEncoder();
  (async () => {
    for (let n = 0; ; n++) {
      await writer.write(encoder.encode(`line ${n}\\n`));
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  return new Response(readable);
} }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with a_rig_with_host(tmp_path_factory.mktemp("rig")) as made:
        yield made


async def test_a_session_runs_and_its_caller_sees_all_of_it(rig: Rig) -> None:
    await rig.an_isolate_agent("echo", ECHO, runtime="10s")
    stream = await rig.run("echo", "günaydın\n")
    opened, ended = stream[0], stream[-1]
    assert [opened.name, ended.name] == ["opened", "ended"]
    assert opened.data | {"id": ""} == {
        "id": "",
        "namespace": rig.namespace,
        "agent": "echo",
        "environment": "isolate",
        "expiresInMs": 10_000,
    }
    assert output(stream) == "you said: günaydın\n"
    assert (ended.data["reason"], ended.data["status"]) == ("Completed", 200)
    assert ended.data["startMs"] < 60_000
    usage = await rig.usage(opened.data["id"])
    assert (usage.state, usage.closed_reason) == (wire.State.ENDED, SessionEnd.COMPLETED)
    assert usage.attributes["agent"] == f"{rig.namespace}/echo"
    assert usage.attributes["hostPod"] == rig.host_uid
    assert usage.attributes["user"]
    assert not usage.holds
    assert 0 < usage.spent.runtime_ms < 25_000  # of a slice of 30 s
    assert ended.data["usage"]["runtime"] == f"{usage.spent.runtime_ms}ms"


async def test_an_opening_is_in_its_callers_trace_up_to_the_isolate_host(rig: Rig) -> None:
    await rig.an_isolate_agent("traced", ECHO, runtime="10s")
    parent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    with in_memory() as memory:
        url = f"{rig.url}/v1/namespaces/{rig.namespace}/agents/traced/sessions"
        async with rig.client.post(url, json={"input": "canary"}, headers=parent) as answer:
            stream = [event async for event in events(answer)]
        ended = memory.ended()
    opened, begun = ended["session open"], ended["isolate open"]
    assert opened.parent is not None
    assert f"{opened.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert opened.attributes == {
        "ambit.agent": f"{rig.namespace}/traced",
        "ambit.session": f"session/{rig.namespace}/{stream[0].data['id']}",
        "ambit.environment": "isolate",
    }
    assert begun.parent == opened.context
    assert not any("canary" in span.to_json() for span in ended.values())


async def test_the_code_of_the_moment_is_pinned_to_the_session(rig: Rig) -> None:
    await rig.an_isolate_agent("pinned", ECHO)
    first = await rig.run("pinned")
    await rig.kube.patch(CONFIG_MAPS, "pinned-code", {"data": {"agent.js": ECHO.replace("you", "we")}}, rig.namespace)
    second = await rig.run("pinned")
    assert (output(first), output(second)) == ("you said: ", "we said: ")
    pinned = [(await rig.usage(stream[0].data["id"])).attributes["codeSha256"] for stream in (first, second)]
    assert pinned[0] != pinned[1]


async def test_an_agent_that_raises_has_failed(rig: Rig) -> None:
    await rig.an_isolate_agent("fails", FAILS)
    ended = (await rig.run("fails"))[-1]
    assert ended.data["reason"] == "Failed"
    assert "out of ideas" in ended.data["message"]


async def test_output_comes_as_it_is_made_and_ends_when_the_runtime_does(rig: Rig) -> None:
    await rig.an_isolate_agent("talks", TALKS_FOR_EVER, runtime="2s")
    stream = await rig.run("talks")
    ended = stream[-1]
    assert ended.data["reason"] == "RuntimeExhausted"
    assert f"session/{rig.namespace}/" in ended.data["message"]
    assert len([event for event in stream if event.name == "output"]) > 3
    usage = await rig.usage(stream[0].data["id"])
    assert 1_500 < usage.spent.runtime_ms <= 2_000
    assert usage.overrun == Amount()
    assert await rig.sessions_on_host() == []


async def test_a_host_that_confirms_late_makes_nobody_spend_more_than_was_held(rig: Rig) -> None:
    await rig.an_isolate_agent("late", TALKS_FOR_EVER, runtime="3s")
    unconfirmed = _unconfirmed_ends()
    assert rig.host is not None
    async with rig.open("late") as answer:
        stream = events(answer)
        session = (await anext(stream)).data["id"]
        assert (await anext(stream)).name == "output"
        rig.host.process.send_signal(signal.SIGSTOP)
        try:
            usage = await rig.ended(session)
        finally:
            rig.host.process.send_signal(signal.SIGCONT)
        rest = [event async for event in stream]
    assert usage.closed_reason is SessionEnd.RUNTIME_EXHAUSTED
    assert (usage.spent.runtime_ms, usage.overrun) == (3_000, Amount())
    assert rest[-1].data["reason"] == "RuntimeExhausted"
    assert await rig.sessions_on_host() == [], "the caller is not told of the end before it is one"
    assert _unconfirmed_ends() == unconfirmed + 1


def _unconfirmed_ends() -> float:
    [family] = metrics.ISOLATE_ENDS_UNCONFIRMED.collect()
    return family.samples[0].value


async def test_a_caller_who_goes_away_ends_the_session(rig: Rig) -> None:
    await rig.an_isolate_agent("left", TALKS_FOR_EVER)
    async with rig.open("left") as answer:
        stream = events(answer)
        opened = await anext(stream)
        assert (await anext(stream)).name == "output"
        answer.close()
    usage = await rig.ended(opened.data["id"])
    assert (usage.closed_reason, usage.closed_message) == (SessionEnd.KILLED, "its caller went away")
    assert usage.spent.runtime_ms < 25_000  # of a slice of 30 s
    assert await rig.sessions_on_host() == []


async def test_a_kill_ends_it_everywhere_before_it_is_answered(rig: Rig) -> None:
    await rig.an_isolate_agent("killed", TALKS_FOR_EVER)
    async with rig.open("killed") as answer:
        stream = events(answer)
        opened = await anext(stream)
        await anext(stream)
        async with rig.client.delete(rig.sessions_url(opened.data["id"])) as killed:
            assert killed.status == 200
            assert (await killed.json())["reason"] == "Killed"
        assert await rig.sessions_on_host() == []
        rest = [event async for event in stream]
    assert rest[-1].name == "ended"
    assert rest[-1].data["reason"] == "Killed"


async def test_a_kill_of_the_agents_account_ends_its_sessions(rig: Rig) -> None:
    await rig.an_isolate_agent("stopped", TALKS_FOR_EVER)
    async with rig.open("stopped") as answer:
        stream = events(answer)
        await anext(stream)
        await rig.operator.kill(wire.Kill(path=f"agent/{rig.namespace}/stopped", reason="stop it all", by="test"))
        async with asyncio.timeout(5):  # long before the next slice would be refused
            rest = [event async for event in stream]
    assert rest[-1].data["reason"] == "Killed"
    assert "stop it all" in rest[-1].data["message"]


async def test_a_host_that_dies_is_said_to_be_lost(tmp_path: Path) -> None:
    async with a_rig_with_host(tmp_path) as rig:
        await _kill_the_host_under_a_session(rig)


async def _kill_the_host_under_a_session(rig: Rig) -> None:
    await rig.an_isolate_agent("talks", TALKS_FOR_EVER)
    assert rig.host is not None
    async with rig.open("talks") as answer:
        stream = events(answer)
        opened = await anext(stream)
        await anext(stream)
        rig.host.process.kill()
        rest = [event async for event in stream]
    assert rest[-1].data["reason"] == "HostLost"
    assert (await rig.ended(opened.data["id"])).closed_reason is SessionEnd.HOST_LOST


async def test_sessions_are_listed_and_shown(rig: Rig) -> None:
    await rig.an_isolate_agent("listed", ECHO)
    done = (await rig.run("listed"))[0].data["id"]
    async with rig.client.get(rig.sessions_url()) as answer:
        listed = (await answer.json())["sessions"]
    assert (done, "Ended", "Completed") in [(one["id"], one["state"], one["reason"]) for one in listed]
    async with rig.client.get(rig.sessions_url(done)) as answer:
        assert (await answer.json())["id"] == done


async def test_runtime_that_the_budget_does_not_have_is_402_and_says_whose(tmp_path: Path) -> None:
    async with a_rig_with_host(tmp_path, runtime_limit_ms=1_500) as rig:
        await rig.an_isolate_agent("talks", TALKS_FOR_EVER)
        stream = await rig.run("talks")
        assert stream[-1].data["reason"] == "RuntimeExhausted"
        async with rig.open("talks") as answer:
            refusal = await answer.json()
            assert answer.status == 402
            assert answer.headers["x-ambit-reason"] == "LimitExceeded"
            assert answer.headers["x-should-retry"] == "false"
        assert refusal["account"] == f"budget/{rig.namespace}/default"
        assert refusal["bound"] == "runtime per Lifetime"
        assert refusal["limit"] == "1s500ms"


async def test_without_a_ready_host_it_is_503_and_says_where_to_look(tmp_path: Path) -> None:
    async with a_rig(tmp_path) as rig:
        await rig.an_isolate_agent("echo", ECHO)
        async with rig.open("echo") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "kubectl get sandboxpools" in (await answer.json())["message"]


async def test_with_one_host_full_sessions_run_on_the_other_and_with_both_full_it_is_429(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(a_rig(tmp_path, runtime_limit_ms=3_600_000))
        hosts: dict[str, Host] = {}
        for number in (0, 1):
            host = await stack.enter_async_context(a_host_of(rig, tmp_path, number, AMBIT_SESSIONS_PER_SHARD="1"))
            hosts[rig.host_uid] = host
        await rig.an_isolate_agent("talks", TALKS_FOR_EVER)
        # Another gateway's session has taken one of them, which this gateway does not know of.
        taken, free = hosts
        place = "/v1/sessions/another/s-1/place"
        token = {"authorization": f"Bearer {hosts[taken].token(sub=taken)}"}
        async with hosts[taken].request("PUT", place, headers=token) as kept:
            assert kept.status == 204
        async with rig.open("talks") as answer:
            stream = events(answer)
            first = (await anext(stream)).data["id"]
            assert (await anext(stream)).name == "output"
            assert (await rig.usage(first)).attributes["hostPod"] == free
            async with rig.open("talks") as refused:
                body = await refused.json()
                assert (refused.status, refused.headers["x-ambit-reason"]) == (429, "HostsFull")
                assert refused.headers["Retry-After"] == "5"
                assert "kubectl scale sandboxpool default" in body["message"]
            async with rig.client.get(rig.sessions_url()) as listed:
                assert [one["id"] for one in (await listed.json())["sessions"]] == [first], "nothing was opened for it"
        await rig.ended(first)
        assert (await rig.run("talks", bounds={"runtime": "2s"}))[-1].data["reason"] == "RuntimeExhausted"


async def test_a_session_that_is_refused_leaves_its_place(tmp_path: Path) -> None:
    async with a_rig(tmp_path, runtime_limit_ms=500) as rig, a_host_of(rig, tmp_path, AMBIT_SESSIONS_PER_SHARD="1"):
        await rig.an_isolate_agent("echo", ECHO)
        for _ in range(3):
            async with rig.open("echo") as answer:
                assert (answer.status, (await answer.json())["reason"]) == (402, "LimitExceeded")


async def test_a_runtime_longer_than_a_slice_is_renewed(rig: Rig) -> None:
    # Longer than the host would let it run with the first slice alone: 30 s, and its grace of 2 s.
    slow = "await new Promise((done) => setTimeout(done, 33000)); return new Response('done');"
    await rig.an_isolate_agent("slow", f"export default {{ async fetch() {{ {slow} }} }}", runtime="60s")
    async with rig.open("slow") as answer:
        stream = events(answer)
        session = (await anext(stream)).data["id"]

        async def renewed() -> bool:
            holds = (await rig.usage(session)).holds
            return any(hold.id == f"runtime/{rig.namespace}/{session}" and hold.sequence == 1 for hold in holds)

        await until(renewed, 30)
        rest = [event async for event in stream]
    assert (output(rest), rest[-1].data["reason"]) == ("done", "Completed")


async def test_many_at_once_are_all_served(rig: Rig) -> None:
    await rig.an_isolate_agent("many", ECHO)
    streams = await asyncio.gather(*(rig.run("many", str(number)) for number in range(20)))
    assert [output(stream) for stream in streams] == [f"you said: {number}" for number in range(20)]


async def test_each_user_of_an_agent_is_bounded_apart(rig: Rig) -> None:
    day = {"perUser": {"limits": [{"window": "Day", "runtime": "1s"}]}}
    await rig.an_isolate_agent("personal", TALKS_FOR_EVER, of_all=day, runtime="10s")
    stream = await rig.run("personal", user="ada", labels={"ticket": "OPS-17"})
    assert stream[-1].data["reason"] == "RuntimeExhausted"
    usage = await rig.usage(stream[0].data["id"])
    assert (usage.user, usage.labels) == ("ada", {"ticket": "OPS-17"})
    async with rig.open("personal", user="ada") as answer:
        assert (answer.status, (await answer.json())["account"]) == (402, f"user/{rig.namespace}/personal/ada")
    async with rig.open("personal", user="bob") as answer:
        assert answer.status == 200
    async with rig.open("personal") as answer:
        refused = await answer.json()
        assert answer.status == 400
        assert "perUser" in refused["message"]


async def test_no_more_sessions_are_open_at_once_than_the_agent_allows(rig: Rig) -> None:
    await rig.an_isolate_agent("single", TALKS_FOR_EVER, of_all={"concurrentSessions": 1}, runtime="30s")
    async with rig.open("single") as first:
        session = (await anext(events(first))).data["id"]
        async with rig.open("single") as second:
            assert (second.status, second.headers["x-ambit-reason"]) == (429, "ConcurrencyLimit")
            assert int(second.headers["Retry-After"]) > 0
    await rig.ended(session)
    async with rig.open("single") as third:
        assert third.status == 200


@pytest.mark.parametrize(
    "body", [{"user": "x" * 254}, {"labels": {str(n): "x" for n in range(6)}}, {"labels": {"": "x"}}]
)
async def test_a_user_or_labels_that_cannot_be_kept_are_refused(rig: Rig, body: dict[str, Any]) -> None:
    async with rig.open("nobody", **body) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "Malformed")

"""Sessions of container Agents: the Sandbox that the gateway makes, and how its end comes to the caller.

There is no node here: what the operator writes to the Sandbox's status, the test writes. Output and Pods are tried on
a real node (e2e).
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from ambit.kube.resources import AGENTS, SANDBOXES
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.telemetry.reasons import SessionEnd
from tests.gateway_sessions.rig import Event, Rig, a_rig, events
from tests.isolates.host import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
CODER = {"environment": {"container": {"image": "registry.example/coder:1"}}, "bounds": {"runtime": "5m"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with a_rig(tmp_path_factory.mktemp("rig")) as made:
        await made.an_agent("coder", CODER)
        yield made


async def finish(rig: Rig, session: str, reason: SessionEnd, **status: Any) -> None:
    """As the operator ends a session: settled and closed in the ledger, then said in the status."""
    path = f"session/{rig.namespace}/{session}"
    await rig.operator.close(wire.Close(path=path, reason=reason, message="done"))
    said = {"reason": reason.value, "message": "done", **status}
    await rig.kube.patch_status(SANDBOXES, session, said, rig.namespace)


async def test_a_session_is_a_sandbox_of_its_agent_and_ends_as_that_does(rig: Rig) -> None:
    async with rig.open("coder", "fix $HOME", bounds={"runtime": "2m"}) as answer:
        stream = events(answer)
        opened = await anext(stream)
        session = opened.data["id"]
        assert (opened.data["environment"], opened.data["expiresInMs"]) == ("container", 120_000)
        made = await rig.kube.get(SANDBOXES, session, rig.namespace)
        assert made["spec"]["agentRef"] == {"name": "coder"}
        assert (made["spec"]["session"], made["spec"]["input"]) == (session, "fix $HOME")
        assert made["spec"]["bounds"] == {"runtime": "2m"}
        agent = await rig.kube.get(AGENTS, "coder", rig.namespace)
        assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [agent["metadata"]["uid"]]
        used = wire.Reserve(
            id=f"runtime/{rig.namespace}/{session}",
            path=f"session/{rig.namespace}/{session}",
            want=Amount(runtime_ms=30_000),
            at_least=Amount(runtime_ms=1_000),
            expires_in_ms=30_000,
        )
        assert isinstance(await rig.operator.reserve(used), wire.Granted)
        await rig.operator.settle(wire.Settle(id=used.id, used=Amount(runtime_ms=1_500)))
        await finish(rig, session, SessionEnd.FAILED, exitCode=3)
        rest = [event async for event in stream]
    assert rest[-1].data["reason"] == "Failed"
    assert (rest[-1].data["exitCode"], rest[-1].data["message"]) == (3, "done")
    assert rest[-1].data["usage"]["runtime"] == "1s500ms"


async def test_a_caller_who_goes_away_has_the_session_killed(rig: Rig) -> None:
    async with rig.open("coder") as answer:
        opened = await anext(events(answer))
        answer.close()
    usage = await rig.ended(opened.data["id"])
    assert usage.closed_reason is SessionEnd.KILLED
    assert usage.closed_message == "its caller went away (by ambit-gateway)"
    await finish(rig, opened.data["id"], SessionEnd.KILLED)


async def test_a_sandbox_that_is_deleted_ends_its_session(rig: Rig) -> None:
    async with rig.open("coder") as answer:
        stream = events(answer)
        session = (await anext(stream)).data["id"]
        await rig.kube.delete(SANDBOXES, session, rig.namespace)
        rest = [event async for event in stream]
    assert (rest[-1].data["reason"], rest[-1].data["message"]) == ("Killed", "its Sandbox was deleted")
    assert (await rig.usage(session)).closed_reason is SessionEnd.KILLED


async def test_an_input_that_is_too_large_is_refused_before_anything_is_made(rig: Rig) -> None:
    before = await rig.ledger.sessions(wire.ListSessions(under=rig.namespace))
    async with rig.open("coder", "x" * (64 * 1024 + 1)) as answer:
        assert answer.status == 413
        assert "64 KiB" in (await answer.json())["message"]
    after = await rig.ledger.sessions(wire.ListSessions(under=rig.namespace))
    assert len(after.sessions) == len(before.sessions)


async def test_a_kill_is_answered_when_no_pod_is_left(rig: Rig) -> None:
    stream: list[Event] = []

    async def watch() -> None:
        async with rig.open("coder") as answer:
            async for event in events(answer):
                stream.append(event)

    watching = asyncio.create_task(watch())
    await until(lambda: _true(bool(stream)))
    session = stream[0].data["id"]
    async with rig.client.delete(rig.sessions_url(session)) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (200, "Killed")
    await finish(rig, session, SessionEnd.KILLED)
    await asyncio.wait_for(watching, 60)
    assert stream[-1].data["reason"] == "Killed"


async def test_a_sandbox_whose_gateway_is_gone_is_ended(rig: Rig) -> None:
    session = "s-orphan"
    path = f"session/{rig.namespace}/{session}"
    opening = wire.Open(path=path, parent=f"agent/{rig.namespace}/coder", grace_ms=60_000)
    await rig.ledger.open(opening)
    await rig.kube.create(SANDBOXES, _sandbox(session, "gateway-under-test"), rig.namespace)
    usage = await rig.ended(session)
    assert usage.closed_reason is SessionEnd.KILLED
    assert "gateway" in usage.closed_message


async def test_a_sandbox_of_a_user_is_nobodys_orphan(rig: Rig) -> None:
    session = "s-mine"
    path = f"session/{rig.namespace}/{session}"
    await rig.ledger.open(wire.Open(path=path, parent=f"agent/{rig.namespace}/coder", grace_ms=600_000))
    made = _sandbox(session, "")
    del made["metadata"]["annotations"]
    await rig.kube.create(SANDBOXES, made, rig.namespace)
    await rig.kube.create(SANDBOXES, _sandbox("s-other", "gateway-under-test"), rig.namespace)
    other = wire.Open(path=f"session/{rig.namespace}/s-other", parent=f"agent/{rig.namespace}/coder", grace_ms=600_000)
    await rig.ledger.open(other)
    await rig.ended("s-other")
    assert (await rig.usage(session)).state is wire.State.OPEN


def _sandbox(session: str, opened_by: str) -> dict[str, Any]:
    return {
        "apiVersion": "ambit.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": session, "annotations": {"ambit.dev/opened-by": opened_by}},
        "spec": {"agentRef": {"name": "coder"}, "session": session},
    }


async def _true(value: bool) -> bool:
    return value

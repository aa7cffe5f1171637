"""SIGKILL of each process while the quickstart's sessions run: work resumes or ends with a reason, no limit is passed,
and nothing is left that has no owner.
"""

from pathlib import Path

import pytest

from ambit.telemetry.reasons import SessionEnd
from tests.cluster.conftest import Cluster
from tests.cluster.killing import kill_component, kill_in_host
from tests.cluster.quickstart import AGENTS, Quickstart, Running, at_work

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(900)]

PLENTY_NANOS = 500_000_000
"""A limit of the team that is not reached before the test wants it to be."""
A_FEW_CALLS_NANOS = 3_000_000
AT_WORK_WITHIN_S = 180
"""A language model on shared cores: 2 s to 25 s at a load of 10 on two, more than 90 s at a load of 20."""


def begin(work: Quickstart, agent: str) -> Running:
    """A session that has had an answer. Until a host is seen to have died, one may still be placed there: it is told so
    and tried again.
    """
    running = work.start(agent)

    def answered() -> bool:
        nonlocal running
        if running.has_ended:
            told = running.said + "".join(running.lines())
            assert any(reason in told for reason in ("HostLost", "has no host that is ready", "answers")), told
            running = work.start(agent)
        return running.rounds >= 1

    work.wait(f"{agent} is at work", answered, AT_WORK_WITHIN_S)
    return running


def go_on(work: Quickstart, *sessions: Running) -> list[Running]:
    """Each has an answer to a call that it made from now on (the first that it tells of may have been under way), or
    has come to the end of its runtime: of what its Agent gives it, or of what was held while there was nobody to hold
    more. Who has is begun anew; the sessions that are at work now.
    """
    enough = [running.rounds + 2 for running in sessions]

    def all_did() -> bool:
        return all(one.has_ended or one.rounds >= rounds for one, rounds in zip(sessions, enough, strict=True))

    work.wait("the sessions go on", all_did, AT_WORK_WITHIN_S)
    over = [running for running in sessions if running.has_ended]
    for running in over:
        ends(work, running, SessionEnd.RUNTIME_EXHAUSTED)
    return [begin(work, running.agent) if running in over else running for running in sessions]


def ends(work: Quickstart, running: Running, *reasons: SessionEnd) -> None:
    work.wait(f"{running.agent} has ended", lambda: running.has_ended)
    session = running.session()
    assert session.reason in reasons, session
    assert session.message or session.reason == SessionEnd.COMPLETED, session


def test_sigkill_of_each_part_during_the_quickstarts_sessions(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    with at_work(cluster, namespace, tmp_path) as work:
        work.limit_team(PLENTY_NANOS)

        # The gateway: sessions end with their callers, who are told; nobody else waits for them.
        lost = [work.start(agent) for agent in AGENTS]
        work.wait("both are at work", lambda: all(running.rounds >= 1 for running in lost))
        kill_component(cluster, "gateway")
        work.wait("both callers are told", lambda: all(running.has_ended for running in lost))
        for running in lost:
            assert running.exit_code == 1
            assert "which ends the session" in running.said or "see `ambit sessions`" in running.said, running.said

        # Operator and ledger: sessions go on, those of both environments.
        researcher, coder = [begin(work, agent) for agent in AGENTS]
        for component in ("operator", "ledger"):
            kill_component(cluster, component)
            researcher, coder = go_on(work, researcher, coder)

        # The shard, and the supervisor with all its shards: what ran there ends with a reason, and nothing else does.
        for process in ("workerd", "isolate-host"):
            kill_in_host(cluster, namespace, process)
            ends(work, researcher, SessionEnd.HOST_LOST)
            researcher = begin(work, "researcher")
        [coder] = go_on(work, coder)

        coder.interrupt()
        ends(work, coder, SessionEnd.KILLED, SessionEnd.RUNTIME_EXHAUSTED)

        # The Budget still ends what goes on, and says so.
        now = work.money("team")
        work.limit_team(now.spent + now.held + A_FEW_CALLS_NANOS)
        ends(work, researcher, SessionEnd.COMPLETED)
        assert [(said.status, said.is_complete) for said in researcher.session().refusals] == [(402, True)]

        # Nothing is left, wherever one looks; every session has a reason, and was charged once at each level.
        work.wait("no Sandbox and no Pod of a session is left", lambda: not work.unfinished())
        work.wait("the isolate host runs nothing", lambda: work.isolates_running() == 0)
        work.wait("no session is open", lambda: all(each.state != "Open" for each in work.known().values()))
        known = work.known()
        assert {each.state for each in known.values()} <= set(SessionEnd), known
        researcher_lost, coder_lost = (known[running.id].state for running in lost)
        assert researcher_lost == SessionEnd.ABANDONED
        # Its call broke off with the gateway: it may have failed of that before the next gateway killed it.
        assert coder_lost in (SessionEnd.KILLED, SessionEnd.FAILED)
        charged = sum(each.usd_nanos for each in known.values())
        work.wait(
            "both Budgets are charged what the sessions were",
            lambda: work.money("team").spent == work.money("organisation").spent == charged,
        )
        assert work.broken == []

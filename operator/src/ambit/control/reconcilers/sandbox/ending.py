"""Whether a Sandbox's session is over, and why: by the ledger's word (killed, abandoned), the Pod's end, the bound, the
Sandbox's deletion, or a start that did not succeed. Pure.
"""

from ambit.api import names
from ambit.control.objects import Pod, instant_ms
from ambit.control.obstacles import Obstacle, obstacle_of
from ambit.control.reconcilers.sandbox import manifests, runtime
from ambit.control.reconcilers.sandbox.observe import ending_of, run_of
from ambit.control.reconcilers.sandbox.state import Ending, Snapshot, container_of
from ambit.policy import Allowed
from ambit.telemetry.reasons import Progress, SessionEnd

IMAGE_PATIENCE_MS = 60_000
"""So long may an image fail to be pulled (some three attempts of the kubelet) before the session ends StartFailed."""


def ending_now(s: Snapshot, now_ms: int) -> Ending | None:
    """Whether the session is over, and why; the ledger's word is first."""
    if s.session is not None and s.session.ended is not None:
        return s.session.ended
    if s.pod is not None and (ended := ending_of(s.pod, s.stopped_for)) is not None:
        return ended
    if s.sandbox.metadata.deletion_timestamp is not None:
        return Ending(SessionEnd.KILLED, "the Sandbox was deleted")
    if s.stopped_for is not None:
        return s.stopped_for
    if s.pod is None and (s.last_pod is not None or s.sandbox.status.pod_name is not None):
        return Ending(SessionEnd.HOST_LOST, "its Pod is gone: it was deleted, or its node went away")
    mismatch = _mismatch(s)
    if mismatch is not None:
        return Ending(SessionEnd.START_FAILED, mismatch)
    if s.session is not None and s.session.hold is not None and s.pod is not None:
        outlook = runtime.outlook(s.session.hold, run_of(s.pod).started_at_ms, now_ms)
        if outlook.stop:
            return Ending(SessionEnd.RUNTIME_EXHAUSTED, s.denial or "no further slice of runtime was granted in time")
    if s.ledger is not None and _unheld(s) and (s.ledger.final or started(s)):
        return Ending(SessionEnd.RUNTIME_EXHAUSTED, s.ledger.message)
    return _start_failure(s, now_ms)


def started(s: Snapshot) -> bool:
    """Whether the container has ever run."""
    return s.pod is not None and run_of(s.pod).started_at_ms is not None


def pod_obstacle(s: Snapshot) -> Obstacle | None:
    """What keeps the container from starting, as its Pod says."""
    if s.pod is None:
        return None
    image = container_of(s.verdict.policy).image if isinstance(s.verdict, Allowed) else ""
    return obstacle_of(s.pod, names.SANDBOX_CONTAINER, image)


def _unheld(s: Snapshot) -> bool:
    return s.session is not None and s.session.hold is None


def _mismatch(s: Snapshot) -> str | None:
    """A session that was opened for something else is not this Sandbox's to run."""
    session = s.session
    if session is None or not session.exists or s.sandbox.spec.agent_ref is None:
        return None
    agent = f"{s.sandbox.metadata.namespace}/{s.sandbox.spec.agent_ref.name}"
    opened_for = session.attributes.get(names.AGENT_ATTRIBUTE), session.attributes.get(names.ENVIRONMENT_ATTRIBUTE)
    if opened_for == (agent, names.CONTAINER):
        return None
    return f"session {manifests.session_id(s.sandbox)} was not opened for a container of Agent {agent}"


def _start_failure(s: Snapshot, now_ms: int) -> Ending | None:
    """A start that cannot succeed, or has been tried for long enough."""
    if started(s):
        return None
    obstacle = s.refused if s.pod is None else pod_obstacle(s)
    if obstacle is not None and obstacle.final:
        return Ending(SessionEnd.START_FAILED, obstacle.message)
    if s.pod is None and s.refused is None:
        return None  # the Budget, the ledger or the gateway's address is waited for, and nothing is held for it
    if s.cluster is None:
        return None
    pulling = obstacle is not None and obstacle.reason is Progress.IMAGE_PULL_FAILED
    since = _scheduled_at(s.pod) if pulling else None
    since = since or (s.pod.metadata.creation_timestamp if s.pod else s.sandbox.metadata.creation_timestamp)
    waited_ms = now_ms - instant_ms(since) if since else 0
    if waited_ms < (IMAGE_PATIENCE_MS if pulling else s.cluster.start_timeout_ms):
        return None
    because = f": {obstacle.message}" if obstacle is not None else ""
    return Ending(SessionEnd.START_FAILED, f"not started within {waited_ms // 1000} s{because}")


def _scheduled_at(pod: Pod | None) -> str | None:
    scheduled = pod.status.condition("PodScheduled") if pod is not None else None
    return scheduled.last_transition_time if scheduled is not None and scheduled.status == "True" else None

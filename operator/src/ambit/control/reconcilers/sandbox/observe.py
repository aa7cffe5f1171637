"""What a Pod says of the one container that matters: when it started, whether and how it ended. Pure."""

from dataclasses import dataclass
from typing import Final

from ambit.api.names import SANDBOX_CONTAINER
from ambit.control.objects import Pod, instant_ms
from ambit.control.reconcilers.sandbox.state import Ending
from ambit.telemetry.reasons import SessionEnd

_NODE_GONE: Final = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting"})


@dataclass(frozen=True)
class Run:
    """The container's life so far. Instants are milliseconds since the epoch, by the node's clock."""

    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    exit_code: int | None = None
    over: bool = False
    """The Pod runs nothing any more, and never will."""


def run_of(pod: Pod) -> Run:
    """What the container did."""
    state = pod.container(SANDBOX_CONTAINER)
    if state.terminated is not None:
        ended = state.terminated
        return Run(
            started_at_ms=instant_ms(ended.started_at) if ended.started_at else None,
            finished_at_ms=instant_ms(ended.finished_at) if ended.finished_at else None,
            exit_code=ended.exit_code,
            over=True,  # restartPolicy is Never
        )
    over = pod.status.phase in ("Succeeded", "Failed")
    if state.running is not None and state.running.started_at:
        return Run(started_at_ms=instant_ms(state.running.started_at), over=over)
    return Run(over=over)


def ending_of(pod: Pod, stopped_for: Ending | None) -> Ending | None:
    """How the Pod ended by itself, or at the hands of others; None while it has not."""
    run = run_of(pod)
    if not run.over:
        return None
    if stopped_for is not None:
        return stopped_for
    if pod.status.reason == "DeadlineExceeded":
        return Ending(SessionEnd.RUNTIME_EXHAUSTED, "the kubelet's own deadline was over: nobody renewed its runtime")
    ended = pod.container(SANDBOX_CONTAINER).terminated
    if ended is not None and ended.exit_code == 0:
        return Ending(SessionEnd.COMPLETED, "exited with code 0")
    if pod.metadata.deletion_timestamp is not None or pod.status.reason in _NODE_GONE:
        why = pod.status.message or pod.status.reason or "the Pod was deleted while it ran"
        return Ending(SessionEnd.HOST_LOST, why)
    if ended is None:
        return Ending(SessionEnd.FAILED, pod.status.message or pod.status.reason or "the Pod failed")
    if run.started_at_ms is None or ended.reason in ("StartError", "ContainerCannotRun"):
        return Ending(SessionEnd.START_FAILED, ended.message or ended.reason or "the container could not be started")
    because = f" ({ended.reason})" if ended.reason not in ("", "Error") else ""
    said = f": {ended.message}" if ended.message else ""
    return Ending(SessionEnd.FAILED, f"exited with code {ended.exit_code}{because}{said}")

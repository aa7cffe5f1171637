"""A session in an isolate: runtime held, the agent run on its host, its answer carried to the caller, all settled.

Crash-only: a gateway that is killed leaves nothing that runs. The host aborts the agent when its connection ends, the
slice expires and is charged, and the ledger ends the session as Abandoned.
"""

import asyncio
import logging
from dataclasses import dataclass

from ambit.gateway.sessions.accounts import close_account, final_usage
from ambit.gateway.sessions.code import Bundle
from ambit.gateway.sessions.hosts import HostClient, HostFailed
from ambit.gateway.sessions.placing import Host
from ambit.gateway.sessions.run import Ending, Run, Stop
from ambit.gateway.sessions.runtime import Ended, RuntimeHold
from ambit.ledger.client import LedgerClient
from ambit.telemetry.reasons import HostError, SessionEnd

_log = logging.getLogger(__name__)

_ENDS: dict[HostError | None, SessionEnd] = {
    None: SessionEnd.HOST_LOST,
    HostError.SHARD_DIED: SessionEnd.HOST_LOST,
    HostError.AGENT_FAILED: SessionEnd.FAILED,
    HostError.KILLED: SessionEnd.KILLED,
}
"""What a host's failure means for the session; any other keeps it from starting."""


@dataclass(frozen=True)
class IsolateSession:
    """What is fixed when the session is opened."""

    host: Host
    bundle: Bundle
    input: str


@dataclass
class _Progress:
    start_ms: int | None = None
    status: int | None = None


async def conduct(
    run: Run, session: IsolateSession, hold: RuntimeHold, ledger: LedgerClient, hosts: HostClient
) -> Ending:
    """Runs the session to its end; the first slice of `hold` is granted already. Never raises for what may happen."""
    progress = _Progress()
    answering = asyncio.create_task(_answer(run, session, hosts, progress))
    keeping = asyncio.create_task(hold.keep())
    stopping = asyncio.create_task(run.stopped())
    try:
        await asyncio.wait({answering, keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        end = _first(answering, keeping, stopping)
    finally:
        for task in (answering, keeping, stopping):
            task.cancel()
        await asyncio.gather(answering, keeping, stopping, return_exceptions=True)
    if end.reason is not SessionEnd.COMPLETED:
        await _leave_nothing(hosts, session.host, run)
    await hold.settle()
    closed = await close_account(ledger, run.path, end.reason, end.message)
    if closed is not None and closed.closed_reason is not None:
        end = Stop(closed.closed_reason, closed.closed_message or end.message)
    return Ending(
        reason=end.reason,
        message=end.message,
        start_ms=progress.start_ms,
        status=progress.status,
        usage=None if closed is None else await final_usage(ledger, run.path),
    )


def _first(answering: "asyncio.Task[None]", keeping: "asyncio.Task[Ended]", stopping: "asyncio.Task[Stop]") -> Stop:
    """Which came first; where several did, what was completed stays completed."""
    if answering.done():
        failure = answering.exception()
        if failure is None:
            return Stop(SessionEnd.COMPLETED, "")
        if isinstance(failure, HostFailed):
            return Stop(_ENDS.get(failure.reason, SessionEnd.START_FAILED), failure.message)
        raise failure
    if stopping.done():
        return stopping.result()
    return Stop(keeping.result().reason, keeping.result().message)


async def _answer(run: Run, session: IsolateSession, hosts: HostClient, progress: _Progress) -> None:
    async with hosts.run(session.host, run.namespace, run.id, session.bundle, session.input) as answer:
        progress.start_ms = run.since_request_ms()
        progress.status = answer.status
        async for chunk in answer.content:
            await run.write(chunk)


async def _leave_nothing(hosts: HostClient, host: Host, run: Run) -> None:
    """The end of our connection aborts the agent; this waits until it has."""
    try:
        await hosts.end(host, run.namespace, run.id)
    except HostFailed as failure:
        _log.warning("session %s: %s", run.path, failure.message)

"""A session in an isolate: runtime held, the agent run on its host, its answer carried to the caller, all settled.

Crash-only: a gateway that is killed leaves nothing that runs. The host aborts the agent when its connection ends, or
when the runtime that it was told of is over, should it not see that end (the gateway's node is lost); the slice expires
and is charged, and the ledger ends the session as Abandoned.
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
from ambit.policy.runtime_slices import ASK_AGAIN_MS
from ambit.telemetry import tracing
from ambit.telemetry.reasons import HostError, SessionEnd

_log = logging.getLogger(__name__)

_ENDS: dict[HostError | None, SessionEnd] = {
    None: SessionEnd.HOST_LOST,
    HostError.SHARD_DIED: SessionEnd.HOST_LOST,
    HostError.AGENT_FAILED: SessionEnd.FAILED,
    HostError.KILLED: SessionEnd.KILLED,
    HostError.RUNTIME_EXHAUSTED: SessionEnd.RUNTIME_EXHAUSTED,
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
    asked_ms: int = 0
    """When the host was asked to run it, after the runtime's start; from then on the host counts."""


async def conduct(
    run: Run, session: IsolateSession, hold: RuntimeHold, ledger: LedgerClient, hosts: HostClient
) -> Ending:
    """Runs the session to its end; the first slice of `hold` is granted already. Never raises for what may happen."""
    progress = _Progress()
    answering = asyncio.create_task(_answer(run, session, hold, hosts, progress))
    with tracing.apart():  # for as long as the session runs: no part of its opening's trace
        renewing = asyncio.create_task(_renew(run, session, hold, hosts, progress))
        keeping = asyncio.create_task(hold.keep())
    stopping = asyncio.create_task(run.stopped())
    try:
        await asyncio.wait({answering, keeping, stopping, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if renewing.done():
            renewing.result()  # raises what ended it: that is a defect
        end = _first(answering, keeping, stopping)
    finally:
        for task in (answering, keeping, stopping, renewing):
            task.cancel()
        await asyncio.gather(answering, keeping, stopping, renewing, return_exceptions=True)
    if end.reason is SessionEnd.COMPLETED:
        await hold.settle(confirmed=True)
        closed = await close_account(ledger, run.path, end.reason, end.message)
    else:
        leaving = asyncio.create_task(_leave_nothing(hosts, session.host, run))
        await asyncio.wait({leaving}, timeout=max(hold.covers_ms - hold.elapsed_ms(), 0) / 1000)
        # A host that is late is waited for, but not with the account open: what was held is over.
        await hold.settle(confirmed=leaving.done() and leaving.result())
        closed = await close_account(ledger, run.path, end.reason, end.message)
        await leaving
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


async def _answer(run: Run, session: IsolateSession, hold: RuntimeHold, hosts: HostClient, progress: _Progress) -> None:
    def held_from_now_ms() -> int:
        progress.asked_ms = hold.elapsed_ms()
        return max(hold.covers_ms - progress.asked_ms, 1)

    async with hosts.run(
        session.host, run.namespace, run.id, session.bundle, session.input, held_from_now_ms
    ) as answer:
        progress.start_ms = run.since_request_ms()
        progress.status = answer.status
        async for chunk in answer.content:
            await run.write(chunk)


async def _renew(run: Run, session: IsolateSession, hold: RuntimeHold, hosts: HostClient, progress: _Progress) -> None:
    """Tells the host of each further slice, until it has heard. Never returns."""
    while True:
        await hold.extended.wait()
        hold.extended.clear()
        try:
            await hosts.renew(session.host, run.namespace, run.id, hold.covers_ms - progress.asked_ms)
        except HostFailed as failure:
            _log.warning("session %s was not given its further runtime yet: %s", run.path, failure.message)
            hold.extended.set()
            await asyncio.sleep(ASK_AGAIN_MS / 1000)


async def _leave_nothing(hosts: HostClient, host: Host, run: Run) -> bool:
    """The end of our connection aborts the agent; this waits until it has. False: the host did not confirm it."""
    try:
        await hosts.end(host, run.namespace, run.id)
    except HostFailed as failure:
        _log.warning("session %s: %s", run.path, failure.message)
        return False
    return True

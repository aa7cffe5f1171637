"""The ledger as the other processes see it: the real process over HTTP."""

from pathlib import Path

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.server import Server, running

BUDGET, AGENT, SESSION = "budget/n/b", "agent/n/a", "session/n/s"


async def a_session(server: Server, calls: int) -> None:
    """A session whose Budget allows so many model calls in its lifetime."""
    async with server.client("operator") as operator:
        limits = (Limit(Window.LIFETIME, Resource.MODEL_CALLS, calls),)
        await operator.put_account(wire.PutAccount(BUDGET, limits=limits))
        await operator.put_account(wire.PutAccount(AGENT, parent=BUDGET))
        await operator.open(wire.Open(SESSION, AGENT, grace_ms=3_600_000, attributes={"user": "u"}))


def a_call(hold: str, path: str = SESSION) -> wire.Reserve:
    one = Amount(model_calls=1)
    return wire.Reserve(hold, path, want=one, at_least=one, expires_in_ms=600_000)


async def test_a_call_from_reserve_to_close(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=1)
        async with server.client() as client:
            opened = await client.open(wire.Open(SESSION, AGENT, grace_ms=3_600_000))
            assert opened == wire.Opened(already=True, attributes={"user": "u"})
            assert await client.reserve(a_call("h")) == wire.Granted(Amount(model_calls=1))
            assert isinstance(await client.reserve(a_call("other")), wire.Wait)
            assert await client.settle(wire.Settle("h", Amount(model_calls=1))) == wire.Settled()
            assert await client.settle(wire.Settle("h", Amount(model_calls=1))) == wire.AlreadySettled()
            refused = await client.reserve(a_call("late"))
            assert isinstance(refused, wire.Refused)
            assert (refused.account, refused.limit, refused.spent, refused.requested) == (BUDGET, 1, 1, 1)
            closed = await client.close(wire.Close(SESSION, SessionEnd.COMPLETED))
            assert closed.usage.spent == Amount(model_calls=1)
            assert closed.usage.closed_reason is SessionEnd.COMPLETED

"""The runtime that a gateway holds for an isolate session, against a ledger that answers late."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from ambit.gateway.sessions import runtime
from ambit.gateway.sessions.runtime import RuntimeHold
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import LedgerUnavailable
from ambit.policy.runtime_slices import SLICE_MS
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.scripted import SESSION, ScriptedLedger, grant, kinds

Reason = wire.RefusalReason
ANSWER_S = 3.0
"""How much later it is, by the holder's clock, at each answer to a renewal."""
LOOK_S = 0.02
"""And at each look at that clock."""


class Renewed:
    """A session's runtime, and a ledger that answers its renewals as a test says; the last answer again and again."""

    def __init__(self, *answers: wire.AnyResult, answer_s: float = ANSWER_S) -> None:
        self.answers = list(answers)
        self.answer_s = answer_s
        self.now_s = 100.0
        self.ledger = ScriptedLedger(self._answer)

    def _answer(self, op: wire.AnyOperation) -> wire.AnyResult:
        if not isinstance(op, wire.Extend):
            return grant(op)
        self.now_s += self.answer_s
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def clock(self) -> float:
        self.now_s += LOOK_S
        return self.now_s

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[RuntimeHold]:
        """The session, when its first slice has to be renewed."""
        async with self.ledger.client() as client:
            hold = RuntimeHold(client, SESSION, "runtime/n/s", self.clock)
            assert isinstance(await hold.begin(), wire.Granted)
            self.now_s += 21.0
            yield hold


def refusal(reason: wire.RefusalReason, ended: SessionEnd | None = None) -> wire.Refused:
    return wire.Refused(reason, "budget/n/b", f"because of {reason}", ended=ended)


@pytest.fixture(autouse=True)
def asks_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "ASK_AGAIN_MS", 1)


@pytest.mark.parametrize("reason", [Reason.STORAGE_FULL, Reason.RESTORE_PENDING, Reason.PARKED])
async def test_what_the_ledger_cannot_hold_now_is_asked_for_again_while_the_slice_lasts(reason: Reason) -> None:
    renewed = Renewed(refusal(reason), refusal(reason), wire.Granted(Amount(runtime_ms=SLICE_MS)))
    async with renewed.running() as hold:
        keeping = asyncio.create_task(hold.keep())
        await hold.extended.wait()
        assert hold.covers_ms == 2 * SLICE_MS
        keeping.cancel()
    always = Renewed(refusal(reason))
    async with always.running() as hold:
        assert await hold.keep() == runtime.Ended(SessionEnd.RUNTIME_EXHAUSTED, f"because of {reason}")
    assert kinds(always.ledger.ops).count("Extend") >= 2, "as often as the slice lasts"


@pytest.mark.parametrize(
    ("refused", "end"),
    [
        (refusal(Reason.SESSION_ENDED, SessionEnd.ABANDONED), SessionEnd.ABANDONED),
        (refusal(Reason.SESSION_ENDED), SessionEnd.KILLED),
        (refusal(Reason.ACCOUNT_REMOVED), SessionEnd.ACCOUNT_REMOVED),
        (refusal(Reason.TERMINATED), SessionEnd.BUDGET_EXHAUSTED),
        (refusal(Reason.HOLD_EXPIRED), SessionEnd.RUNTIME_EXHAUSTED),
    ],
)
async def test_a_session_that_is_over_ends_at_once(refused: wire.Refused, end: SessionEnd) -> None:
    renewed = Renewed(refused)
    async with renewed.running() as hold:
        assert await hold.keep() == runtime.Ended(end, refused.message)
    assert kinds(renewed.ledger.ops).count("Extend") == 1


async def test_what_a_limit_refused_is_not_asked_for_again() -> None:
    renewed = Renewed(refusal(Reason.LIMIT_EXCEEDED), answer_s=8.3)  # little is left of the slice then
    async with renewed.running() as hold:
        assert await hold.keep() == runtime.Ended(SessionEnd.RUNTIME_EXHAUSTED, "because of LimitExceeded")
    assert kinds(renewed.ledger.ops).count("Extend") == 1


async def test_a_session_that_did_not_begin_since_the_ledger_was_late_gives_its_slice_back() -> None:
    ledger = ScriptedLedger()
    async with ledger.client(deadline_s=0.02) as client:
        ledger.hold_back()
        with pytest.raises(LedgerUnavailable):
            await RuntimeHold(client, SESSION, "runtime/n/s").begin()
        ledger.let_go()
        await ledger.arrived(2)
    assert kinds(ledger.ops) == ["Reserve", "Release"]

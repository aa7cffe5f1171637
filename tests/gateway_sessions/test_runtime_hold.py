"""The runtime that a gateway holds for an isolate session, against a ledger that answers late."""

import pytest

from ambit.gateway.sessions.runtime import RuntimeHold
from ambit.ledger.client import LedgerUnavailable
from tests.ledger.scripted import SESSION, ScriptedLedger, kinds


async def test_a_session_that_did_not_begin_since_the_ledger_was_late_gives_its_slice_back() -> None:
    ledger = ScriptedLedger()
    async with ledger.client(deadline_s=0.02) as client:
        ledger.hold_back()
        with pytest.raises(LedgerUnavailable):
            await RuntimeHold(client, SESSION, "runtime/n/s").begin()
        ledger.let_go()
        await ledger.arrived(2)
    assert kinds(ledger.ops) == ["Reserve", "Release"]

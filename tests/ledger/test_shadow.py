"""Shadow of what is not an account's own limit: open sessions, users, and sub-sessions in an Agent's name."""

from typing import Any

import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Limit
from ambit.ledger.wire import Enforcement, Granted, Opened, RefusalReason
from tests.ledger.builders import AGENT, DAY_MS, ORGANISATION, OTHER, SESSION, TEAM, Ledger, a_ledger, a_limit, calls

HELPER, SUB = "agent/team-a/helper", "session/team-a/sub"


def put(ledger: Ledger, path: str, enforcement: Enforcement, limits: tuple[Limit, ...] = (), **fields: Any) -> None:
    parent = ORGANISATION if path == TEAM else TEAM
    op = wire.PutAccount(path, limits, parent, enforcement=enforcement, **fields)
    assert ledger.do(op, "operator") == wire.AccountPut()


@pytest.mark.parametrize("path", [TEAM, AGENT])
def test_as_many_sessions_as_would_be_too_many_open_and_are_told_of(path: str) -> None:
    ledger = a_ledger()
    put(ledger, path, Enforcement.SHADOW, concurrent_sessions=1)
    opened = ledger.open(path=OTHER)
    assert isinstance(opened, Opened)
    (told,) = opened.shadow
    assert (told.reason, told.account, told.limit, told.held) == (RefusalReason.CONCURRENCY_LIMIT, path, 1, 1)
    put(ledger, path, Enforcement.ENFORCE, concurrent_sessions=2)
    assert isinstance(ledger.open(path="session/team-a/third"), wire.Wait)


def test_the_users_of_an_agent_in_shadow_are_in_shadow() -> None:
    ledger = a_ledger()
    put(ledger, HELPER, Enforcement.SHADOW, user_limits=(a_limit(1),))
    ledger.do(wire.Open(OTHER, HELPER, DAY_MS, user="bob"))
    granted = ledger.reserve(calls(2), hold="h", path=OTHER)
    assert isinstance(granted, Granted)
    assert [(told.account, told.limit) for told in granted.shadow] == [("user/team-a/helper/bob", 1)]
    put(ledger, HELPER, Enforcement.ENFORCE, user_limits=(a_limit(2),))
    assert isinstance(ledger.reserve(calls(1), path=OTHER), wire.Wait)
    ledger.settle(calls(2))
    assert isinstance(ledger.reserve(calls(1), path=OTHER), wire.Refused)


def test_a_sub_session_in_the_name_of_an_agent_in_shadow_has_its_own_limits_alone() -> None:
    ledger = a_ledger()
    put(ledger, HELPER, Enforcement.SHADOW, (a_limit(1),))
    ledger.do(wire.Open(SUB, SESSION, DAY_MS, (a_limit(5),), agent=HELPER))
    assert ledger.reserve(calls(1), hold="h", path=SUB) == Granted(calls(1))
    granted = ledger.reserve(calls(2), path=SUB)
    assert isinstance(granted, Granted)
    assert [(told.account, told.limit, told.held, told.requested) for told in granted.shadow] == [(SUB, 1, 1, 2)]
    extended = ledger.extend(1, calls(1))
    assert isinstance(extended, Granted)
    assert [told.held for told in extended.shadow] == [3]
    assert isinstance(ledger.reserve(calls(2), path=SUB), wire.Wait), "its own limit is no Agent's"

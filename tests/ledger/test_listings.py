"""Sessions are listed a page at a time: each once, in the order of their opening, whatever happens between pages."""

from pathlib import Path

import pytest

from ambit.ledger import wire
from ambit.ledger.tree import Tree
from ambit.ledger.wire import Invalid, ListSessions, Sessions, State, UnknownAccount
from tests.ledger.builders import AGENT, DAY_MS, ORGANISATION, SESSION, Ledger, a_ledger
from tests.ledger.server import running

COUNT = 25


def path_of(number: int) -> str:
    return f"session/team-a/n-{number:02}"


def many_sessions() -> Ledger:
    """Some of the same millisecond, and one under another."""
    ledger = a_ledger()
    ledger.close()
    for number in range(COUNT):
        if number % 3 == 0:
            ledger.pass_time(1)
        ledger.open(path=path_of(number), parent=path_of(0) if number == 5 else AGENT)
    return ledger


def a_page(
    ledger: Ledger, under: str, after: str | None, state: State | None = State.OPEN, at_most: int = 4
) -> Sessions:
    page = ledger.do(ListSessions(under, state, at_most, after))
    assert isinstance(page, Sessions), page
    assert len(page.sessions) <= at_most
    return page


def paths(page: Sessions) -> list[str]:
    return [each.path for each in page.sessions]


@pytest.mark.parametrize("under", ["team-a", AGENT, ORGANISATION])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "another writer"])
def test_pages_come_to_what_one_answer_has(under: str, restarts: bool) -> None:
    ledger = many_sessions()
    whole = ledger.do(ListSessions(under, State.OPEN))
    assert isinstance(whole, Sessions)
    assert (len(whole.sessions), whole.next) == (COUNT, None)
    found: list[str] = []
    after = None
    for _ in range(COUNT):
        page = a_page(ledger, under, after)
        found += paths(page)
        if (after := page.next) is None:
            break
        if restarts:
            ledger.restart(ledger.replayed())
    assert found == paths(whole)


@pytest.mark.parametrize("restarts", [False, True], ids=["", "another writer"])
def test_what_goes_and_comes_between_pages_keeps_nobody_else_from_being_listed(restarts: bool) -> None:
    ledger = many_sessions()
    first = a_page(ledger, "team-a", None, state=None)
    for gone in (SESSION, path_of(2)):  # the last of the page, too
        ledger.close(gone)
    ledger.pass_time(11 * 60_000)
    ledger.open(path="session/team-a/late")
    if restarts:
        ledger.restart(ledger.replayed())
    found = paths(first)
    after = first.next
    while after is not None:
        page = a_page(ledger, "team-a", after, state=None)
        found += paths(page)
        after = page.next
    assert set(found) >= {path_of(number) for number in range(COUNT)}
    assert path_of(2) not in paths(a_page(ledger, "team-a", None, state=None, at_most=250))


def test_a_page_that_is_asked_for_again_is_the_same() -> None:
    ledger = many_sessions()
    after = a_page(ledger, AGENT, None).next
    assert a_page(ledger, AGENT, after) == a_page(ledger, AGENT, after)


def test_no_page_looks_at_all_sessions_and_one_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambit.ledger.listings.LOOKED_AT", 3)
    ledger = many_sessions()
    page = a_page(ledger, "team-a", None, State.REMOVED)
    pages = 1
    while page.next is not None:
        assert paths(page) == []
        page = a_page(ledger, "team-a", page.next, State.REMOVED)
        pages += 1
    assert pages == (COUNT + 1 + 2) // 3


def test_few_lists_are_remembered_and_not_for_long() -> None:
    ledger = many_sessions()
    for at_most in range(1, 20):
        a_page(ledger, AGENT, None, at_most=at_most)
    after = a_page(ledger, AGENT, None, at_most=1).next
    assert paths(a_page(ledger, AGENT, after)) == [path_of(number) for number in range(1, 5)]
    ledger.pass_time(DAY_MS // 2)
    assert paths(a_page(ledger, AGENT, after)) == [path_of(number) for number in range(1, 5)]


@pytest.mark.parametrize("after", ["", "x", "12", ":session/n/s", "-1:session/n/s", "²:s", "9" * 20 + ":s"])
def test_what_no_page_said_is_refused(after: str) -> None:
    assert isinstance(a_ledger().do(ListSessions("team-a", None, 4, after)), Invalid)


def test_an_account_that_is_not_there_has_no_page() -> None:
    assert Tree().apply("gateway", ListSessions("agent/n/a", None, 4), 0).result == UnknownAccount("agent/n/a")


async def test_the_client_follows_the_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wire, "MAX_PAGE", 2)
    async with running(tmp_path) as server, server.client("operator") as client:
        await client.put_account(wire.PutAccount("budget/n/b"))
        for number in range(5):
            await client.open(wire.Open(f"session/n/s-{number}", "budget/n/b", DAY_MS))
        for under in ("n", "budget/n/b"):
            assert len((await client.sessions(ListSessions(under))).sessions) == 5

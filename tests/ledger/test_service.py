"""The ledger as the other processes see it: the real process over HTTP."""

import asyncio
from pathlib import Path

import httpx
import pytest

from ambit.ledger import wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import (
    AccountUnknown,
    HoldIdReused,
    HoldUnknown,
    InvalidOperation,
    LedgerClient,
    LedgerUnavailable,
    OperationForbidden,
)
from ambit.telemetry.reasons import SessionEnd
from tests.ledger.server import Server, log_of, running

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


async def test_errors_are_typed(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=9)
        async with server.client() as client:
            with pytest.raises(AccountUnknown, match="session/n/none"):
                await client.reserve(a_call("h", "session/n/none"))
            with pytest.raises(HoldUnknown, match="never"):
                await client.settle(wire.Settle("never", Amount()))
            with pytest.raises(InvalidOperation, match="is no session"):
                await client.close(wire.Close(AGENT, SessionEnd.COMPLETED))
            with pytest.raises(OperationForbidden, match="only the operator"):
                await client.remove_account(wire.RemoveAccount(BUDGET))
            await client.reserve(a_call("h"))
            with pytest.raises(HoldIdReused):
                await client.reserve(wire.Reserve("h", SESSION, Amount(tokens=1), Amount(tokens=1), 1000))
            with pytest.raises(InvalidOperation, match="expiresInMs"):
                await client.reserve(wire.Reserve("g", SESSION, Amount(tokens=1), Amount(tokens=1), 0))


async def post(server: Server, body: str, token: str | None = "user-gateway", path: str = "/v1/ops") -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server.url) as http:
        return await http.post(path, content=body, headers=headers)


async def client_get(server: Server, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url) as http:
        return await http.get(path, headers={"Authorization": "Bearer user-gateway"})


async def test_nobody_without_a_components_token_is_heard(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        for token in (None, "forged", "user-unknown"):
            put = '{"ops": [{"op": "putAccount", "path": "budget/n/b"}]}'
            assert (await post(server, put, token)).status_code == 401
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
                assert (await http.get("/v1/events")).status_code == 401
        async with server.client() as client:
            with pytest.raises(AccountUnknown):
                await client.usage(wire.GetUsage("budget/n/b"))


async def test_a_bad_operation_spoils_no_other_of_its_batch(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        body = (
            '{"ops": [{"op": "putAccount", "path": "budget/n/b"}, {"op": "explode"}, {"op": "putAccount"},'
            ' {"op": "putAccount", "path": "budget/n/c",'
            ' "limits": [{"window": "Day", "resource": "usd", "amount": 0.1}]},'
            ' {"op": "usage", "path": "budget/n/b"}]}'
        )
        response = await post(server, body, "user-operator")
        assert response.status_code == 200
        results = response.json()["results"]
        assert [result["result"] for result in results] == ["AccountPut", "Invalid", "Invalid", "Invalid", "Usage"]
        assert "`int`, got `float`" in results[3]["message"]


async def test_a_body_that_is_no_batch_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        for body in ("", "{}", "[]", '{"ops": 1}', '{"ops": [}', '{"ops": [], "more": 1}'):
            response = await post(server, body)
            assert response.status_code == 400, body
            assert "no batch of operations" in response.text


async def test_events_tell_of_kills_endings_and_limits(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, server.client("operator") as operator, server.client() as gateway:
        events = gateway.events()
        assert await anext(events) == wire.Resynchronised()
        await a_session(server, calls=9)
        assert [await anext(events) for _ in range(2)] == [wire.LimitsChanged(BUDGET), wire.LimitsChanged(AGENT)]
        await operator.kill(wire.Kill(AGENT, "test", "ada"))
        assert await anext(events) == wire.SessionKilled(SESSION, "Killed")
        confirmed = await anext(events)
        assert isinstance(confirmed, wire.KillConfirmed)
        assert (confirmed.path, confirmed.how) == (AGENT, wire.Confirmation.OBSERVED)
        await operator.open(wire.Open("session/n/t", AGENT, 3_600_000))
        await operator.close(wire.Close("session/n/t", SessionEnd.FAILED))
        assert await anext(events) == wire.SessionEnded("session/n/t", SessionEnd.FAILED)
        await events.aclose()


async def test_an_abandoned_session_is_told_of_without_anybody_asking(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, server.client("operator") as operator:
        await a_session(server, calls=9)
        events = operator.events()
        assert await anext(events) == wire.Resynchronised()
        await operator.open(wire.Open("session/n/short", AGENT, grace_ms=50))
        async with asyncio.timeout(10):
            assert await anext(events) == wire.SessionEnded("session/n/short", SessionEnd.ABANDONED)
        await events.aclose()


async def test_events_go_on_where_they_broke_off_and_say_when_they_cannot(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        headers = {"Authorization": "Bearer user-gateway"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:

            async def first_lines(last_id: str | None) -> tuple[str, str]:
                sent = {} if last_id is None else {"Last-Event-ID": last_id}
                async with http.stream("GET", "/v1/events", headers=sent) as response:
                    lines = response.aiter_lines()
                    return (await anext(lines)).removeprefix("id: "), (await anext(lines)).removeprefix("data: ")

            seen, data = await first_lines(None)
            assert "Resynchronised" in data
            await a_session(server, calls=9)
            assert "LimitsChanged" in (await first_lines(seen))[1]
            for unknown in ("1-999", "0-1", "nonsense"):
                assert "Resynchronised" in (await first_lines(unknown))[1]


async def test_whoever_asks_for_it_hears_something_often_after_all_that_was_journalled(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, server.client("operator") as operator, server.client() as gateway:
        await a_session(server, calls=9)
        heard = asyncio.Event()
        events = gateway.events(silence_ms=20, heard=heard.set)
        assert await anext(events) == wire.Resynchronised()
        following = asyncio.ensure_future(anext(events))
        for _ in range(3):
            heard.clear()
            async with asyncio.timeout(4):  # by itself the ledger would say nothing for five seconds
                await heard.wait()
        await operator.kill(wire.Kill(SESSION, "test", "ada"))
        assert await following == wire.SessionKilled(SESSION, "Killed")
        await events.aclose()
        for wrong in ("0", "60001", "soon"):
            answer = await client_get(server, f"/v1/events?silenceMs={wrong}")
            assert (answer.status_code, "silenceMs" in answer.text) == (400, True)


async def test_a_listener_who_goes_away_is_no_error(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server, server.client() as gone, server.client() as gateway:
        leaving = gone.events(silence_ms=1)
        assert await anext(leaving) == wire.Resynchronised()
        await leaving.aclose()
        heard = asyncio.Semaphore(0)
        events = gateway.events(silence_ms=1, heard=heard.release)
        assert await anext(events) == wire.Resynchronised()
        following = asyncio.ensure_future(anext(events))
        for _ in range(50):  # meanwhile it has something to say to who has gone, too
            await asyncio.wait_for(heard.acquire(), 30)
        following.cancel()
        await asyncio.wait({following})
        await events.aclose()
        assert '"level": "error"' not in log_of(tmp_path / "data")


async def test_health_and_metrics_of_the_tree(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=4)
        async with server.client() as client:
            await client.reserve(a_call("h"))
            await client.settle(wire.Settle("h", Amount(model_calls=2)))
            await client.reserve(a_call("g"))
            await client.reserve(a_call("f", "session/n/s"))
            await client.reserve(a_call("e", "session/n/s"))
        async with httpx.AsyncClient(base_url=server.health_url) as http:
            assert (await http.get("/readyz")).status_code == 200
            lines = (await http.get("/metrics")).text.splitlines()
        place = '{budget="b",namespace="n",resource="modelCalls",window="Lifetime"}'
        for line in (
            f"ambit_budget_limit{place} 4.0",
            f"ambit_budget_spent{place} 2.0",
            f"ambit_budget_held{place} 2.0",
            "ambit_ledger_open_sessions 1.0",
            "ambit_ledger_open_holds 2.0",
            'ambit_ledger_overruns_total{resource="modelCalls"} 1.0',
            'ambit_ledger_refusals_total{kind="budget",reason="LimitExceeded",resource="modelCalls",result="Wait",'
            'window="Lifetime"} 1.0',
        ):
            assert line in lines


async def test_an_answer_lost_on_the_way_is_asked_for_again_and_charged_once(tmp_path: Path) -> None:
    """A relay between client and ledger that swallows every other answer and drops the connection."""
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=1000)
        host, port = server.url.removeprefix("http://").split(":")
        swallowed = 0
        connections = 0

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal swallowed, connections
            connections += 1
            swallow = connections % 2 == 1
            upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
            upstream_writer.write(await reader.read(65536))
            answer = await upstream_reader.read(65536)
            if swallow:
                swallowed += 1
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()
            upstream_writer.close()

        async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
            relayed = "http://{}:{}".format(*between.sockets[0].getsockname()[:2])
            async with LedgerClient(relayed, lambda: "user-gateway") as client:
                for number in range(8):
                    assert await client.reserve(a_call(f"h-{number}")) == wire.Granted(Amount(model_calls=1))
                    settled = await client.settle(wire.Settle(f"h-{number}", Amount(model_calls=1)))
                    assert isinstance(settled, wire.Settled | wire.AlreadySettled)
        assert swallowed >= 8
        async with server.client() as client:
            usage = await client.usage(wire.GetUsage(BUDGET))
            assert (usage.spent, usage.held) == (Amount(model_calls=8), Amount())


async def test_a_ledger_that_is_away_is_reported_after_the_deadline(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=1)
        async with server.client(deadline_s=0.3) as client:
            await client.usage(wire.GetUsage(BUDGET))
            await server.kill()
            with pytest.raises(LedgerUnavailable, match=r"within 0\.3 s: "):
                await client.reserve(a_call("h"))


async def test_a_token_that_is_not_known_is_reported_as_such(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data") as server,
        LedgerClient(server.url, lambda: "forged", deadline_s=0.3) as client,
    ):
        with pytest.raises(LedgerUnavailable, match="HTTP 401"):
            await client.usage(wire.GetUsage(BUDGET))


async def test_calls_made_together_go_together(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=1000)
        async with server.client() as client:
            await asyncio.gather(*(client.reserve(a_call(f"h-{number}")) for number in range(300)))
        async with httpx.AsyncClient(base_url=server.health_url) as http:
            metrics = (await http.get("/metrics")).text
        (count,) = [line for line in metrics.splitlines() if line.startswith("ambit_ledger_commit_changes_count")]
        assert float(count.split()[1]) < 20, "three to set up, and a few for all three hundred"


async def test_corrections_and_history_go_over_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await a_session(server, calls=9)
        async with server.client("operator") as operator:
            adjust = wire.Adjust(BUDGET, Resource.MODEL_CALLS, 3, "they were made elsewhere", "ada")
            assert await operator.adjust(adjust) == wire.Adjusted()
            assert (await operator.usage(wire.GetUsage(BUDGET))).spent == Amount(model_calls=3)
            assert await operator.accept_clock(wire.AcceptClock("it is right", "ada")) == wire.ClockAccepted()
        async with server.client() as client:
            assert await client.history(wire.GetHistory(BUDGET)) == wire.History(())
            with pytest.raises(AccountUnknown):
                await client.history(wire.GetHistory("budget/n/none"))
            with pytest.raises(OperationForbidden):
                await client.adjust(adjust)

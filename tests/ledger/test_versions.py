"""A rolling upgrade: this client and a ledger of version 1, by answers that such a ledger gave."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from ambit.ledger import version_1, wire
from ambit.ledger.amounts import Amount, Limit, Resource, Window
from ambit.ledger.client import HoldUnknown, InvalidOperation, LedgerClient
from ambit.ledger.http_exchange import VERSION_HEADER
from ambit.telemetry.reasons import SessionEnd

ONE = Amount(model_calls=1)
BUDGET, SESSION = "budget/n/b", "session/n/s"
RECORDED = Path(__file__).with_name("recorded") / "version_1.json"
"""Operations and what a ledger of version 1 answered, in the order in which it was asked."""


class Exchanged(msgspec.Struct):
    component: str
    op: dict[str, Any]
    result: dict[str, Any]


@dataclass
class OldLedger:
    """Answers as was recorded; what it was never asked, it cannot answer."""

    url: str = ""
    says_version: str | None = None
    """The header of its answers; None: it has never heard of versions."""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    versions: list[str | None] = field(default_factory=list[str | None])
    recorded: list[Exchanged] = field(
        default_factory=lambda: msgspec.json.decode(RECORDED.read_bytes(), type=list[Exchanged])
    )

    async def ops(self, request: web.Request) -> web.Response:
        self.versions.append(request.headers.get(VERSION_HEADER))
        results: list[dict[str, Any]] = []
        for op in (await request.json())["ops"]:
            self.asked.append(op)
            results.append(next(one.result for one in self.recorded if one.op == op))
        headers = {} if self.says_version is None else {VERSION_HEADER: self.says_version}
        return web.json_response({"results": results}, headers=headers)


@asynccontextmanager
async def old_ledger() -> AsyncGenerator[tuple[OldLedger, LedgerClient]]:
    """Such a ledger, and a client of today."""
    ledger = OldLedger()
    app = web.Application()
    app.add_routes([web.post("/v1/ops", ledger.ops)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with LedgerClient(f"http://{host}:{port}", lambda: "user-gateway", deadline_s=5.0) as client:
            yield ledger, client
    finally:
        await runner.cleanup()


async def test_an_old_ledger_is_spoken_to_in_its_own_words() -> None:
    async with old_ledger() as (ledger, client):
        limit = Limit(Window.LIFETIME, Resource.MODEL_CALLS, 3)
        assert await client.put_account(wire.PutAccount(BUDGET, (limit,))) == wire.AccountPut()
        opening = wire.Open(SESSION, "agent/n/a", 3_600_000, attributes={"agent": "n/a"})
        assert isinstance(await client.open(opening), wire.Opened)
        granted = await client.reserve(wire.Reserve("h#1", SESSION, ONE, ONE, 600_000))
        assert isinstance(granted, wire.Granted)
        assert granted.amount == ONE
        assert await client.settle(wire.Settle("h#1", ONE)) == wire.Settled()
        with pytest.raises(HoldUnknown):
            await client.release(wire.Release("h#9", "never sent"))
        usage = await client.usage(wire.GetUsage(BUDGET))
        assert (usage.spent, usage.limits[0].limit) == (ONE, 3)
        assert isinstance(await client.reserve(wire.Reserve("h#5", SESSION, ONE, ONE, 600_000)), wire.Wait)
        closed = await client.close(wire.Close(SESSION, SessionEnd.COMPLETED))
        assert closed.usage.closed_reason is SessionEnd.COMPLETED
        killed = await client.kill(wire.Kill(BUDGET, "test", "ada"))
        assert (killed.sessions, killed.confirmed) == ((), None)
    assert ledger.versions[0] == "2"
    assert set(ledger.versions[1:]) == {"1"}, "once it is known to be old it is not asked in new words"


async def test_what_an_old_ledger_does_not_count_is_left_out_of_amounts() -> None:
    async with old_ledger() as (ledger, client):
        want = Amount(model_calls=1, input_tokens=5)
        granted = await client.reserve(wire.Reserve("h#3", SESSION, want, ONE, 600_000))
        assert granted == wire.Granted(ONE)
    assert [one["want"] for one in ledger.asked] == [{"modelCalls": 1, "inputTokens": 5}, {"modelCalls": 1}]


async def test_what_an_old_ledger_cannot_keep_is_refused_and_not_weakened() -> None:
    async with old_ledger() as (ledger, client):
        with pytest.raises(InvalidOperation, match="version 1, which has no speculative in reserve"):
            await client.reserve(wire.Reserve("h#2", SESSION, ONE, ONE, 600_000, speculative=True))
        for op in (
            wire.PutAccount(BUDGET, (Limit(Window.MONTH, Resource.USD, 3),)),
            wire.PutAccount(BUDGET, (Limit(Window.DAY, Resource.TOOL_CALLS, 3),)),
            wire.PutAccount(BUDGET, concurrent_sessions=5),
        ):
            with pytest.raises(InvalidOperation, match="version 1, which has no "):
                await client.put_account(op)
    assert len(ledger.asked) == 1, "only the first, by which its age became known"


async def test_a_ledger_that_was_replaced_is_spoken_to_in_new_words_again() -> None:
    async with old_ledger() as (ledger, client):
        await client.usage(wire.GetUsage(BUDGET))
        ledger.says_version = "2"
        await client.usage(wire.GetUsage(BUDGET))
        await client.usage(wire.GetUsage(BUDGET))
    assert ledger.versions == ["2", "1", "1", "2"]


async def test_a_ledger_that_is_newer_is_spoken_to_in_our_own_words() -> None:
    async with old_ledger() as (ledger, client):
        ledger.says_version = "3"
        await client.usage(wire.GetUsage(BUDGET))
        await client.usage(wire.GetUsage(BUDGET))
    assert ledger.versions == ["2", "2"]


def test_answers_go_to_their_own_questions() -> None:
    """Of five operations, an old ledger is sent the second and the fourth."""
    ops = [
        wire.Reserve("h#1", SESSION, ONE, ONE, 1, speculative=True),
        wire.GetUsage("budget/n/1"),
        wire.Reserve("h#2", SESSION, ONE, ONE, 1, speculative=True),
        wire.GetUsage("budget/n/3"),
        wire.Reserve("h#3", SESSION, ONE, ONE, 1, speculative=True),
    ]
    older = version_1.translate(msgspec.json.encode(wire.Operations(list(ops))))
    assert [op["path"] for op in msgspec.json.decode(older.body)["ops"]] == ["budget/n/1", "budget/n/3"]
    answers: list[wire.AnyResult] = [wire.UnknownAccount("budget/n/1"), wire.UnknownAccount("budget/n/3")]
    results = msgspec.json.decode(older.answer(msgspec.json.encode(wire.Results(answers))), type=wire.Results).results
    assert [type(one) for one in results] == [
        *(wire.Invalid, wire.UnknownAccount, wire.Invalid, wire.UnknownAccount, wire.Invalid)
    ]
    assert (results[1], results[3]) == tuple(answers)

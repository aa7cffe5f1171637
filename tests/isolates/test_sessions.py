"""A session from its opening to its end, on a real supervisor and real workerd."""

import asyncio
import hashlib

import pytest
from aiohttp import ClientPayloadError, web

from tests.isolates.host import Host, a_host, bundle, names_in, until

HELLO = """
export default {
  async fetch(request, env, ctx) {
    env.SQL.exec("CREATE TABLE notes (text TEXT)");
    env.SQL.exec("INSERT INTO notes VALUES (?)", await request.text());
    const answer = await fetch(env.OPENAI_BASE_URL + "/models?limit=1");
    const [{ text }] = env.SQL.exec("SELECT text FROM notes");
    return Response.json({ text, session: env.AMBIT_SESSION, gateway: await answer.json() });
  },
};
"""
STREAM = """
export default {
  fetch(request, env, ctx) {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    const work = async () => {
      await writer.write(new TextEncoder().encode("first"));
      await fetch(env.OPENAI_BASE_URL + "/models");
      await writer.write(new TextEncoder().encode("second"));
      await writer.close();
    };
    ctx.waitUntil(work());
    return new Response(readable);
  },
};
"""
BUSY_FOR_EVER = """
export default {
  fetch(request, env, ctx) {
    const ask = () => fetch(env.OPENAI_BASE_URL + "/models").then((answer) => answer.text());
    setInterval(ask, 5);
    ctx.waitUntil((async () => { for (;;) await ask(); })());
    const { readable, writable } = new TransformStream();
    writable.getWriter().write(new TextEncoder().encode("first"));
    return new Response(readable);
  },
};
"""
WAIT_A_LITTLE = """
export default {
  async fetch(request, env, ctx) {
    for (let turn = 0; turn < 20; turn++) await new Promise((done) => setTimeout(done, 5));
    return new Response("waited");
  },
};
"""
HOLD = """
export default {
  async fetch(request, env) {
    return new Response(await (await fetch(env.OPENAI_BASE_URL + "/models")).text());
  },
};
"""


def held_until(release: asyncio.Event):
    """The gateway answers no sooner than `release` is set."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="released")

    return answer


async def test_an_agent_has_its_input_a_database_of_its_own_and_the_gateway(host: Host) -> None:
    opened = await host.open("team-a/s-1", HELLO, "what is a facet?")
    assert opened.status == 200, opened.body
    assert opened.json == {
        "text": "what is a facet?",
        "session": "team-a/s-1",
        "gateway": {"hello": "team-a/s-1"},
    }
    assert host.gateway.asked[0].target == "/openai/v1/models?limit=1"
    assert await host.state("team-a/s-1") == {"state": "Ended", "reason": "Completed"}


async def test_output_comes_as_the_agent_writes_it(host: Host) -> None:
    release = asyncio.Event()
    host.gateway.answer = held_until(release)
    async with host.stream("team-a/s-1", await host.put_code(STREAM)) as answer:
        assert await answer.content.readany() == b"first"
        assert await host.sessions() == ["team-a/s-1"]
        assert await host.state("team-a/s-1") == {"state": "Running"}
        release.set()
        assert await answer.read() == b"second"
    await host.nothing_left()


async def test_when_the_gateway_goes_away_no_timer_or_background_work_is_left(host: Host) -> None:
    async with host.stream("team-a/s-1", await host.put_code(BUSY_FOR_EVER)) as answer:
        assert await answer.content.readany() == b"first"
        await until(lambda: asyncio.sleep(0, len(host.gateway.asked) > 3))
        answer.close()
    await host.nothing_left()
    assert await host.state("team-a/s-1") == {
        "state": "Ended",
        "reason": "Killed",
        "message": "the gateway went away",
    }
    asked = len(host.gateway.asked)
    refused = await host.metric("ambit_isolate_egress_refused_total", reason="UnknownSession")
    # A neighbour's hundred milliseconds: whatever still ran in that shard would ask again meanwhile.
    assert (await host.open("team-a/s-2", WAIT_A_LITTLE)).body == "waited"
    assert len(host.gateway.asked) == asked
    assert await host.metric("ambit_isolate_egress_refused_total", reason="UnknownSession") == refused


async def test_delete_answers_when_nothing_is_left_and_breaks_the_stream(host: Host) -> None:
    async with host.stream("team-a/s-1", await host.put_code(BUSY_FOR_EVER)) as answer:
        assert await answer.content.readany() == b"first"
        async with host.request("DELETE", "/v1/sessions/team-a/s-1") as deleted:
            assert deleted.status == 204
        assert await host.sessions() == []
        with pytest.raises(ClientPayloadError):
            await answer.read()
    assert (await host.state("team-a/s-1"))["reason"] == "Killed"


async def test_a_request_under_way_ends_with_its_session(host: Host) -> None:
    host.gateway.answer = held_until(asyncio.Event())
    asking = asyncio.create_task(host.open("team-a/s-1", HOLD))
    await until(lambda: asyncio.sleep(0, len(host.gateway.asked) == 1))
    async with host.request("DELETE", "/v1/sessions/team-a/s-1") as deleted:
        assert deleted.status == 204
    await asyncio.wait_for(host.gateway.broken_off.wait(), 60)
    opened = await asking
    assert (opened.status, opened.headers["x-ambit-host-error"]) == (502, "Killed")


async def test_the_next_session_of_that_name_finds_neither_isolate_nor_database(host: Host) -> None:
    counting = """
    let opens = 0;
    export default {
      fetch(request, env) {
        env.SQL.exec("CREATE TABLE IF NOT EXISTS rows (n INTEGER)");
        env.SQL.exec("INSERT INTO rows VALUES (1)");
        return Response.json({ opens: ++opens, rows: env.SQL.exec("SELECT * FROM rows").toArray().length });
      },
    };
    """
    for _ in range(2):
        assert (await host.open("team-a/s-1", counting)).json == {"opens": 1, "rows": 1}
        await host.nothing_left()
    databases = [file.name for file in host.state_dir.rglob("*.sqlite")]
    assert databases == ["metadata.sqlite"]


async def test_an_agent_cannot_keep_its_isolate_from_being_unloaded(host: Host) -> None:
    stubborn = """
    let opens = 0;
    export default {
      async fetch() {
        const { Control } = await import("ambit-control.js");
        for (const change of [
          () => { Control.prototype.unload = () => "never"; },
          () => { Object.defineProperty(Control.prototype, "unload", { value: () => "never" }); },
          () => { Object.setPrototypeOf(Control.prototype, { unload: () => "never" }); },
        ]) {
          try { change(); } catch {}
        }
        return Response.json(++opens);
      },
    };
    """
    shards = host.shard_pids()
    for _ in range(2):
        assert (await host.open("team-a/s-1", stubborn)).body == "1"
        await host.nothing_left()
    assert host.shard_pids() == shards


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("export default { fetch() { throw new Error('no idea'); } };", "no idea"),
        ("export default { fetch() { return 'no Response'; } };", "Response"),
        ("export default {};", "export default { async fetch"),
        ("export default {}; throw new Error('at the top');", "at the top"),
        ("this is no JavaScript", "SyntaxError"),
        ("import './missing.js'; export default { fetch() {} };", "missing.js"),
    ],
)
async def test_an_agent_that_fails_is_told_why(host: Host, source: str, said: str) -> None:
    opened = await host.open("team-a/s-1", source)
    assert (opened.status, opened.headers["x-ambit-host-error"]) == (502, "AgentFailed")
    assert said in str(opened.json["message"])
    await host.nothing_left()


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(host: Host) -> None:
    breaking = """
    export default {
      fetch(request, env) {
        const steps = [
          (stream) => stream.enqueue(new TextEncoder().encode("first")),
          async () => { await fetch(env.OPENAI_BASE_URL + "/models"); throw new Error("broken"); },
        ];
        return new Response(new ReadableStream({ pull: (stream) => steps.shift()(stream) }, { highWaterMark: 0 }));
      },
    };
    """
    release = asyncio.Event()
    host.gateway.answer = held_until(release)
    async with host.stream("team-a/s-1", await host.put_code(breaking)) as answer:
        assert await answer.content.readany() == b"first"
        release.set()
        with pytest.raises(ClientPayloadError):
            await answer.read()
    assert (await host.state("team-a/s-1"))["reason"] == "AgentFailed"


async def test_an_agent_cannot_speak_for_the_host(host: Host) -> None:
    opened = await host.open(
        "team-a/s-1",
        """
        const headers = { "x-ambit-host-error": "Full", "x-own": "y" };
        export default { fetch: () => new Response("x", { headers }) };
        """,
    )
    assert (opened.status, opened.body, opened.headers["x-own"]) == (200, "x", "y")
    assert "x-ambit-host-error" not in opened.headers


async def test_a_name_that_runs_is_not_opened_twice(host: Host) -> None:
    release = asyncio.Event()
    host.gateway.answer = held_until(release)
    first = asyncio.create_task(host.open("team-a/s-1", HOLD))
    await until(lambda: asyncio.sleep(0, len(host.gateway.asked) == 1))
    second = await host.open("team-a/s-1", HOLD)
    assert (second.status, second.headers["x-ambit-host-error"]) == (409, "SessionExists")
    release.set()
    assert (await first).body == "released"


async def test_a_host_takes_no_more_sessions_than_its_limit() -> None:
    async with a_host(AMBIT_SESSIONS_PER_SHARD="3") as host:
        release = asyncio.Event()
        host.gateway.answer = held_until(release)
        running = [asyncio.create_task(host.open(f"team-a/s-{number}", HOLD)) for number in range(3)]
        await until(lambda: asyncio.sleep(0, len(host.gateway.asked) == 3))
        opened = await host.open("team-a/s-4", HOLD)
        assert (opened.status, opened.headers["x-ambit-host-error"]) == (503, "Full")
        release.set()
        assert [(await one).status for one in running] == [200, 200, 200]
        await host.nothing_left()
        assert (await host.open("team-a/s-4", HOLD)).status == 200


async def test_code_is_put_before_it_is_run(host: Host) -> None:
    unknown = hashlib.sha256(b"never put").hexdigest()
    async with host.stream("team-a/s-1", unknown) as answer:
        assert (answer.status, answer.headers["x-ambit-host-error"]) == (409, "CodeMissing")


async def test_code_with_another_hash_is_refused(host: Host) -> None:
    sha256 = hashlib.sha256(bundle(HELLO)).hexdigest()
    async with host.request("PUT", f"/v1/code/{sha256}", data=bundle(HELLO + "//")) as answer:
        assert (answer.status, answer.headers["x-ambit-host-error"]) == (422, "CodeRefused")
    async with host.stream("team-a/s-1", sha256) as answer:
        assert answer.headers["x-ambit-host-error"] == "CodeMissing"


async def test_an_input_that_is_too_large_is_refused() -> None:
    async with a_host(AMBIT_INPUT_BYTES="1000") as host:
        assert (await host.open("team-a/s-1", HELLO, "x" * 1000)).status == 200
        opened = await host.open("team-a/s-2", HELLO, "x" * 1001)
        assert (opened.status, opened.headers["x-ambit-host-error"]) == (413, "InputTooLarge")


async def test_a_gateway_that_is_away_is_an_answer(host: Host) -> None:
    gone = """
    export default {
      async fetch(request, env) {
        const answer = await fetch(env.OPENAI_BASE_URL + "/models");
        return Response.json({ status: answer.status, ...(await answer.json()) });
      },
    };
    """

    async def hang_up(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    host.gateway.answer = hang_up
    answer = (await host.open("team-a/s-1", gone)).json
    assert (answer["status"], answer["reason"]) == (503, "GatewayUnavailable")


async def test_a_shard_is_replaced_after_so_many_loads_and_its_last_session_goes_on() -> None:
    async with a_host(AMBIT_RECYCLE_AFTER_LOADS="2") as host:
        [first_shard] = host.shard_pids()
        release = asyncio.Event()
        host.gateway.answer = held_until(release)
        running = asyncio.create_task(host.open("team-a/s-1", HOLD))
        await until(lambda: asyncio.sleep(0, len(host.gateway.asked) == 1))
        assert (await host.open("team-a/s-2", WAIT_A_LITTLE)).status == 200
        assert (await host.open("team-a/s-3", WAIT_A_LITTLE)).status == 200
        assert len(host.shard_pids()) == 2
        release.set()
        assert (await running).body == "released"
        await until(lambda: asyncio.sleep(0, first_shard not in host.shard_pids()))
        assert await host.metric("ambit_isolate_shard_starts_total", cause="Recycled") == 1
        await until(lambda: asyncio.sleep(0, names_in(host.state_dir) == ["shard-2"]))

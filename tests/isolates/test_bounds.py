"""What one agent, or the loss of a process, does to others: stated, bounded in time, and over soon."""

import asyncio
import os
import signal
import time
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ambit.isolates.watchdog import HangBudget, is_hung
from tests.isolates.host import Host, Opened, a_host, alive, children, environment_of, names_in, open_files, until
from tests.latency import within_ms

HELLO = "export default { fetch: () => new Response('hello') };"
SPIN = "export default { fetch() { while (true) {} } };"
SPIN_WHILE_LOADING = "while (true) {} export default { fetch() {} };"
SPIN_IN_MICROTASKS = "export default { async fetch() { for (;;) await null; } };"
HEAP_BOMB = """
export default {
  fetch() { const kept = []; for (;;) kept.push(new Array(1000).fill(Math.random())); },
};
"""
WAIT_FOR_GATEWAY = """
export default {
  async fetch(request, env) { return new Response(await (await fetch(env.OPENAI_BASE_URL + "/models")).text()); },
};
"""
STREAM_FOR_EVER = """
export default {
  fetch() {
    const { readable, writable } = new TransformStream();
    writable.getWriter().write(new TextEncoder().encode("first"));
    return new Response(readable);
  },
};
"""


@pytest.mark.parametrize(
    ("silent_ms", "cpu_used_ms", "hung"),
    [
        (10, 10, False),
        (199, 199, False),
        (200, 200, True),
        (1000, 100, False),  # it wanted to run and was not let: the machine is busy
        (1999, 0, False),
        (2000, 0, True),  # neither answers nor runs
        (10, 400, False),  # many threads, and answered in time
    ],
)
def test_silence_counts_as_a_hang_by_cpu_time_or_by_the_wall(silent_ms: float, cpu_used_ms: float, hung: bool) -> None:
    assert is_hung(silent_ms, cpu_used_ms, HangBudget(cpu_ms=200, wall_ms=2000)) is hung


async def waiting(host: Host, session: str) -> asyncio.Task[Opened]:
    """A neighbour that waits for the gateway's answer."""
    release = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="released")

    host.gateway.answer = answer
    asked = len(host.gateway.asked)
    task = asyncio.create_task(host.open(session, WAIT_FOR_GATEWAY))
    await until(lambda: asyncio.sleep(0, len(host.gateway.asked) > asked))
    return task


@pytest.mark.parametrize("source", [SPIN, SPIN_WHILE_LOADING, SPIN_IN_MICROTASKS, HEAP_BOMB])
async def test_what_takes_a_shard_down_is_stated_to_all_in_it_and_over_soon(host: Host, source: str) -> None:
    attempts = count()

    async def attempt() -> float:
        first, second, third = (f"team-a/s-{next(attempts)}" for _ in range(3))
        [shard] = host.shard_pids()
        neighbour = await waiting(host, first)
        culprit = await host.open(second, source)
        died = time.monotonic()
        assert (culprit.status, culprit.headers["x-ambit-host-error"]) == (502, "ShardDied")
        assert (await host.open(third, HELLO)).body == "hello"
        took_s = time.monotonic() - died
        stated = await neighbour
        assert (stated.status, stated.headers["x-ambit-host-error"]) == (502, "ShardDied")
        assert (await host.state(first))["reason"] == "ShardDied"
        assert shard not in host.shard_pids()
        await host.nothing_left()
        return took_s * 1000

    await within_ms(1000, attempt)


@pytest.mark.parametrize(
    ("take_8_mb", "times"),
    [("Array.from({ length: 1 << 20 }, Math.random)", 30), ("new Uint8Array(8 << 20).fill(1)", 200)],
    ids=["heap", "buffers"],
)
async def test_memory_is_bounded_also_where_the_agent_lets_others_run(take_8_mb: str, times: int) -> None:
    take_much = f"""
    export default {{
      async fetch() {{
        const kept = [];
        while (kept.length < {times}) {{
          kept.push({take_8_mb});
          await new Promise((done) => setTimeout(done, 1));
        }}
        return new Response("took it all");
      }},
    }};
    """
    async with a_host(AMBIT_SHARD_MEMORY_BYTES=str(1 << 30)) as host:
        opened = await host.open("team-a/s-1", take_much)
        assert opened.headers.get("x-ambit-host-error") in ("ShardDied", "AgentFailed"), opened.body
        assert (await host.open("team-a/s-2", HELLO)).body == "hello"


async def test_a_stream_under_way_breaks_off_when_its_shard_dies_and_the_host_says_why(host: Host) -> None:
    async with host.stream("team-a/s-1", await host.put_code(STREAM_FOR_EVER)) as answer:
        assert await answer.content.readany() == b"first"
        os.kill(host.shard_pids()[0], signal.SIGKILL)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert (await host.state("team-a/s-1"))["reason"] == "ShardDied"
    assert (await host.open("team-a/s-2", HELLO)).body == "hello"
    assert await host.metric("ambit_isolate_shard_starts_total", cause="Exited") == 1


async def test_a_shard_that_neither_runs_nor_answers_is_killed_too() -> None:
    async with a_host(AMBIT_STALL_MS="500") as host:
        neighbour = await waiting(host, "team-a/s-1")
        os.kill(host.shard_pids()[0], signal.SIGSTOP)
        stated = await neighbour
        assert stated.headers["x-ambit-host-error"] == "ShardDied"
        await until(host.ready)
        assert await host.metric("ambit_isolate_shard_starts_total", cause="Hung") == 1


async def test_many_loads_at_once_are_not_taken_for_a_hang() -> None:
    # Not by the processor's time that they take. By the wall a shard that is not let run for long is lost all the same.
    async with a_host(AMBIT_STALL_MS="60000", AMBIT_HANG_MS="2000") as host:
        await _many_loads(host)


async def _many_loads(host: Host) -> None:
    functions = [f"function f{n}(a) {{ return [a, {n}].map((each) => each * 2); }} f{n}(1);" for n in range(8_000)]
    heavy = await host.put_code("\n".join([*functions, HELLO]))
    shards = host.shard_pids()

    async def opened(number: int) -> str:
        async with host.stream(f"team-a/s-{number}", heavy) as answer:
            return await answer.text()

    assert await asyncio.gather(*(opened(number) for number in range(40))) == ["hello"] * 40
    assert host.shard_pids() == shards


async def test_a_shard_dies_with_its_supervisor(host: Host) -> None:
    neighbour = await waiting(host, "team-a/s-1")
    [shard] = host.shard_pids()
    host.process.kill()
    await host.process.wait()
    await until(lambda: asyncio.sleep(0, not alive(shard)))
    with pytest.raises(aiohttp.ClientError):
        await neighbour


async def test_sigterm_ends_everything_and_leaves_nothing(host: Host) -> None:
    neighbour = await waiting(host, "team-a/s-1")
    [shard] = host.shard_pids()
    host.process.terminate()
    assert await asyncio.wait_for(host.process.wait(), 60) == 0
    assert not alive(shard)
    assert names_in(host.state_dir) == []
    with pytest.raises(aiohttp.ClientError):
        await neighbour


async def test_what_a_killed_supervisor_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "shard-7" / "state"
    left.mkdir(parents=True)
    (left / "secret.sqlite").write_text("of a session long gone")
    async with a_host(AMBIT_STATE_DIR=str(tmp_path)):
        assert names_in(tmp_path) == ["shard-1"]


async def test_a_database_that_grows_too_large_fails_its_own_session_only() -> None:
    grow = """
    export default {
      async fetch(request, env) {
        env.SQL.exec("CREATE TABLE rows (data BLOB)");
        for (;;) {
          env.SQL.exec("INSERT INTO rows VALUES (zeroblob(100000))");
          await new Promise((done) => setTimeout(done, 0));
        }
      },
    };
    """
    async with a_host(AMBIT_SESSION_DISK_BYTES=str(4 << 20)) as host:
        shards = host.shard_pids()
        neighbour = await waiting(host, "team-a/s-1")
        opened = await host.open("team-a/s-2", grow)
        assert (opened.status, opened.headers["x-ambit-host-error"]) == (502, "AgentFailed")
        assert (await host.state("team-a/s-1"))["state"] == "Running"
        assert (await host.open("team-a/s-3", HELLO)).body == "hello"
        assert host.shard_pids() == shards
        neighbour.cancel()


async def test_a_flood_of_console_output_hangs_nothing(host: Host) -> None:
    flood = """
    export default {
      async fetch() {
        for (let turn = 0; turn < 200; turn++) {
          for (let line = 0; line < 100; line++) console.log("x".repeat(1000));
          await new Promise((done) => setTimeout(done, 0));
        }
        return new Response("done");
      },
    };
    """
    shards = host.shard_pids()
    assert (await host.open("team-a/s-1", flood)).body == "done"
    assert host.shard_pids() == shards
    said = [line for line in host.log if line["message"] == "a shard says"]
    assert 0 < len(said) < 20_000


async def test_an_agent_cannot_keep_more_requests_under_way_than_it_may(host: Host) -> None:
    many = """
    export default {
      async fetch(request, env) {
        const answers = Array.from({ length: 80 }, () => fetch(env.OPENAI_BASE_URL + "/models"));
        const first = await Promise.race(answers);
        return new Response(first.headers.get("x-ambit-reason"));
      },
    };
    """
    forever = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await forever.wait()
        return web.Response()

    host.gateway.answer = answer
    assert (await host.open("team-a/s-1", many)).body == "TooManyRequests"
    assert len(host.gateway.asked) <= 64
    await host.nothing_left()


async def test_the_shard_knows_nothing_of_the_supervisors_environment(host: Host) -> None:
    [shard] = host.shard_pids()
    assert environment_of(shard) == b""
    assert children(shard) == []
    assert not [file for file in open_files(shard) if "token" in file]

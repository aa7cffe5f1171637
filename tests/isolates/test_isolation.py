"""An agent that tries to get out: each attempt runs inside a real isolate. Those on the network were seen to succeed
with the empty network and Egress taken away by hand; those of `attempts` succeed in `test_attempts`, at each run.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import web

from tests.isolates.attempts import NEW_CODE, OF_THE_HOST, STUBS_OF_NODE, Attempt, attempting
from tests.isolates.host import Host, a_host

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_host() -> AsyncGenerator[Host]:
    async with a_host() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def host(one_host: Host) -> Host:
    """One host for all these tests, as for all sessions of a namespace; nothing is left of the session before."""
    await one_host.nothing_left()
    one_host.gateway.asked.clear()
    one_host.gateway.answer = None
    return one_host


@dataclass
class Bait:
    """A server on this machine that no agent may reach; counts who connects."""

    port: int = 0
    connections: int = 0


@pytest_asyncio.fixture(loop_scope="module")
async def bait() -> AsyncGenerator[Bait]:
    caught = Bait()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    caught.port = server.sockets[0].getsockname()[1]
    async with server:
        yield caught


async def try_it(host: Host, attempt: str, bait: Bait | None = None) -> dict[str, object]:
    opened = await host.open("team-a/s-1", attempting(attempt), str(bait.port if bait else 0))
    assert opened.status == 200, opened.body
    return opened.json


FETCH = "const answer = await fetch(ADDRESS); return [answer.status, await answer.text()];"
NODE_HTTP = """
    const answer = await new Promise((done, fail) => http.get(ADDRESS, done).on("error", fail));
    let text = "";
    for await (const chunk of answer) text += chunk;
    return [answer.statusCode, text];
"""


@pytest.mark.parametrize(
    ("by", "address"),
    [
        (FETCH, "http://127.0.0.1:BAIT/"),
        (FETCH, "http://localhost:BAIT/"),
        (FETCH, "http://[::1]:BAIT/"),
        (FETCH, "https://api.openai.com/v1/models"),
        (FETCH, "http://169.254.169.254/latest/meta-data/"),
        (FETCH, "https://kubernetes.default.svc/api"),
        (FETCH, "https://10.96.0.1/api"),
        (FETCH, "http://gateway.ambit:8080/openai/v1/models"),
        (FETCH, "http://gateway.ambit:8443/v1/namespaces/team-a/sessions"),
        (FETCH, "http://user:password@gateway.ambit.elsewhere.example/"),
        (FETCH, "http://supervisor/v1/sessions"),
        (FETCH, "http://outside/egress"),
        (NODE_HTTP, "http://127.0.0.1:BAIT/"),
        (NODE_HTTP, "http://169.254.169.254/latest/meta-data/"),
        (NODE_HTTP, "http://kubernetes.default.svc/api"),
    ],
)
async def test_other_hosts_are_the_gateways_to_refuse(host: Host, bait: Bait, by: str, address: str) -> None:
    address = address.replace("BAIT", str(bait.port))
    result = await try_it(host, by.replace("ADDRESS", json.dumps(address)), bait)
    assert bait.connections == 0
    assert result == {"got": [403, '{"reason": "HostNotAllowed"}']}
    [asked] = host.gateway.asked
    assert asked.target.startswith("http://")  # absolute: the gateway sees whom it was meant for
    assert asked.headers["x-ambit-session"] == "team-a/s-1"


@pytest.mark.parametrize(
    "attempt",
    [
        "const socket = connect(`127.0.0.1:${port}`); await socket.opened; return 'open';",
        """
        const socket = connect({ hostname: "gateway.ambit", port: 80 });
        await socket.opened;
        return "open";
        """,
        """
        return new Promise((done, fail) => {
          const socket = net.connect(port, "127.0.0.1", () => done("open"));
          socket.on("error", fail);
        });
        """,
        """
        const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { Upgrade: "websocket" } });
        if (answer.webSocket === null) throw new Error(`no socket: ${answer.status}`);
        return "open";
        """,
        """
        return new Promise((done, fail) => {
          const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
          socket.addEventListener("open", () => done("open"));
          socket.addEventListener("error", (event) => fail(new Error(event.message ?? "error")));
          socket.addEventListener("close", () => fail(new Error("closed")));
        });
        """,
    ],
    ids=["connect", "connect-gateway", "node:net", "fetch-upgrade", "WebSocket"],
)
async def test_there_is_no_other_way_out(host: Host, bait: Bait, attempt: str) -> None:
    result = await try_it(host, attempt, bait)
    assert "failed" in result, result
    assert bait.connections == 0


@pytest.mark.parametrize("name", ["kubernetes.default.svc", "secret.elsewhere.example"])
async def test_names_are_not_resolved(host: Host, name: str) -> None:
    result = await try_it(host, f"return dns.promises.resolve4({json.dumps(name)});")
    assert "failed" in result, result
    # workerd asks a public resolver over HTTP: that is a host like any other.
    assert [asked.target.split("/")[2] for asked in host.gateway.asked] == ["cloudflare-dns.com:443"]


@pytest.mark.parametrize("attempt", STUBS_OF_NODE, ids=str)
async def test_modules_of_node_lead_nowhere(host: Host, bait: Bait, attempt: Attempt) -> None:
    assert attempt.said in str((await try_it(host, attempt.source, bait)).get("failed"))


@pytest.mark.parametrize("attempt", NEW_CODE, ids=str)
async def test_only_the_code_that_was_pinned_runs(host: Host, attempt: Attempt) -> None:
    assert attempt.said in str((await try_it(host, attempt.source)).get("failed"))


async def test_code_is_not_made_while_loading_either(host: Host) -> None:
    source = "const made = eval('1 + 1'); export default { fetch: () => new Response(made) };"
    opened = await host.open("team-a/s-1", source)
    assert (opened.status, opened.headers["x-ambit-host-error"]) == (502, "AgentFailed")
    assert "Code generation from strings disallowed" in opened.body


@pytest.mark.parametrize("attempt", OF_THE_HOST, ids=str)
async def test_nothing_of_the_host_is_in_reach(host: Host, attempt: Attempt) -> None:
    assert attempt.said in str((await try_it(host, attempt.source)).get("failed"))


async def test_an_agent_is_given_these_things_and_no_others(host: Host) -> None:
    result = await try_it(
        host,
        """
        return {
          env: Object.keys(env), ctx: Object.keys(ctx), workers: Object.keys(workers.env), process: process.env,
          root: fs.readdirSync("/"), bundle: fs.readdirSync("/bundle"),
        };
        """,
    )
    assert result["got"] == {
        "env": ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AMBIT_SESSION", "SQL"],
        "ctx": ["storage", "waitUntil"],
        "workers": ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "AMBIT_SESSION"],
        "process": {
            "OPENAI_BASE_URL": "http://gateway.ambit/openai/v1",
            "ANTHROPIC_BASE_URL": "http://gateway.ambit/anthropic",
            "GOOGLE_GEMINI_BASE_URL": "http://gateway.ambit/gemini",
            "AMBIT_SESSION": "team-a/s-1",
        },
        "root": ["bundle", "tmp", "dev"],
        "bundle": ["agent.js", "ambit-agent.js", "ambit-control.js", "ambit-main.js"],
    }


async def test_sessions_share_neither_database_nor_memory_nor_files(host: Host) -> None:
    secretive = """
    import fs from "node:fs";
    export default {
      async fetch(request, env) {
        const found = [];
        const look = (what, read) => {
          try { found.push([what, read()]); } catch { found.push([what, null]); }
        };
        look("row", () => env.SQL.exec("SELECT text FROM secrets").toArray().length);
        look("global", () => globalThis.secret ?? null);
        look("file", () => fs.readFileSync("/tmp/secret", "utf8"));
        env.SQL.exec("CREATE TABLE IF NOT EXISTS secrets (text TEXT)");
        env.SQL.exec("INSERT INTO secrets VALUES (?)", env.AMBIT_SESSION);
        globalThis.secret = env.AMBIT_SESSION;
        fs.writeFileSync("/tmp/secret", env.AMBIT_SESSION);
        await fetch(env.OPENAI_BASE_URL + "/models");
        return Response.json(found);
      },
    };
    """
    together = asyncio.Barrier(4)

    async def all_at_once(request: object) -> web.StreamResponse:
        await together.wait()
        return web.Response(text="go on")

    host.gateway.answer = all_at_once
    names = ("team-a/s-1", "team-a/s-2", "team-a/s-11", "team-b/s-1")
    opened = await asyncio.gather(*(host.open(name, secretive) for name in names))
    assert [json.loads(one.body) for one in opened] == [[["row", None], ["global", None], ["file", None]]] * 4

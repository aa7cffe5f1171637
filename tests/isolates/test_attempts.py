"""The attempts of `test_isolation` where nothing holds them: there they succeed, so that failing says something."""

import asyncio
import json
import re
import shutil
import socket
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.isolates.attempts import NEW_CODE, OF_THE_HOST, STUBS_OF_NODE, Attempt, Held, attempting
from tests.isolates.host import WORKERD, until

ALL = (*NEW_CODE, *STUBS_OF_NODE, *OF_THE_HOST)
RUN_IN_NODE = """
import agent from "./agent.mjs";
const request = new Request("http://agent/", { method: "POST", body: process.argv[2] });
console.log(await (await agent.fetch(request, {}, {})).text());
process.exit(0);
"""
AN_OPEN_WORKER = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "open", worker = .open),
    (name = "outside", external = (address = "127.0.0.1:PORT", http = ())),
  ],
  sockets = [(name = "http", address = "unix:SOCKET", http = (), service = "open")],
);
const open :Workerd.Worker = (
  modules = [(name = "agent.js", esModule = embed "agent.js"), (name = "host.js", esModule = embed "host.js")],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["experimental", "nodejs_compat"],
  cacheApiOutbound = "outside",
  bindings = [(name = "LOADER", workerLoader = ()), (name = "OUTSIDE", service = "outside")],
);
"""
EXPORTS = """
export class AgentHost extends workers.WorkerEntrypoint { get name() { return "AgentHost"; } }
export class Egress extends workers.WorkerEntrypoint { get name() { return "Egress"; } }
"""


def succeeding_in(where: Held) -> Sequence[Attempt]:
    return [attempt for attempt in ALL if attempt.succeeds_in is where]


@asynccontextmanager
async def a_server() -> AsyncGenerator[int]:
    """Answers any request; its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def accepts(listen: Path) -> bool:
    """Whether somebody listens there: the socket's file is there a moment earlier."""
    try:
        _, writer = await asyncio.open_unix_connection(str(listen))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    writer.close()
    return True


@pytest.mark.parametrize("attempt", succeeding_in(Held.NODE), ids=str)
async def test_in_node_it_succeeds(tmp_path: Path, attempt: Attempt) -> None:
    source = attempting(attempt.source)
    of_workerd = r'import (\* as (?P<all>\w+)|\{ (?P<one>\w+) \}) from "cloudflare:\w+";'
    (tmp_path / "agent.mjs").write_text(re.sub(of_workerd, "", source))
    (tmp_path / "run.mjs").write_text(RUN_IN_NODE)
    node = shutil.which("node")
    assert node is not None, "Node is needed, as for the isolate host's packages"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        process = await asyncio.create_subprocess_exec(
            *(node, str(tmp_path / "run.mjs"), str(listening.getsockname()[1])), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    assert "got" in json.loads(said), said


@pytest.mark.parametrize("attempt", succeeding_in(Held.WORKERD), ids=str)
async def test_in_a_worker_that_is_given_what_the_host_has_it_succeeds(tmp_path: Path, attempt: Attempt) -> None:
    listen = tmp_path / "http.sock"
    (tmp_path / "agent.js").write_text(attempting(attempt.source) + EXPORTS)
    (tmp_path / "host.js").write_text("export const AgentHost = 'the host worker';")
    async with a_server() as port:
        config = AN_OPEN_WORKER.replace("PORT", str(port)).replace("SOCKET", str(listen))
        (tmp_path / "open.capnp").write_text(config)
        process = await asyncio.create_subprocess_exec(
            *(str(WORKERD), "serve", str(tmp_path / "open.capnp"), "--experimental"), cwd=tmp_path
        )
        try:
            await until(lambda: accepts(listen))
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(listen))) as client,
                client.post("http://agent/", data=str(port)) as answer,
            ):
                said = await answer.json()
        finally:
            process.kill()
            await process.wait()
    assert "got" in said, said


@pytest.mark.parametrize("attempt", succeeding_in(Held.SQLITE), ids=str)
def test_in_sqlite_itself_it_succeeds(tmp_path: Path, attempt: Attempt) -> None:
    found = re.search("exec\\(`(.*)`\\)", attempt.source)
    assert found is not None
    with sqlite3.connect(tmp_path / "own", isolation_level=None) as database:
        database.execute(found[1].replace("/tmp/x", str(tmp_path / "x"))).fetchall()
    assert "/tmp/x" not in found[1] or (tmp_path / "x").exists()

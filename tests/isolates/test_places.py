"""Room that a host keeps for a session that is about to be opened."""

import asyncio

import pytest
from aiohttp import web

from ambit.isolates.sessions import PLACE_KEPT_S, HostRefusal, Sessions
from ambit.isolates.settings import Settings
from ambit.isolates.shards import Shards
from tests.isolates.host import Host, a_host, until
from tests.isolates.test_sessions import HOLD, held_until

HELLO = "export default { fetch: () => new Response('hello') };"


async def place(host: Host, session: str) -> str:
    """What the host says: its status, and why it refused."""
    async with host.request("PUT", f"/v1/sessions/{session}/place") as answer:
        return f"{answer.status} {answer.headers.get('x-ambit-host-error', '')}".strip()


async def test_room_is_kept_for_whom_it_was_promised() -> None:
    async with a_host(AMBIT_SESSIONS_PER_SHARD="1") as host:
        assert await place(host, "team-a/s-1") == "204"
        assert await place(host, "team-a/s-1") == "204", "asked again, it is the same place"
        assert await place(host, "team-a/s-2") == "503 Full"
        refused = await host.open("team-a/s-2", HELLO)
        assert (refused.status, refused.headers["x-ambit-host-error"]) == (503, "Full")
        assert (await host.open("team-a/s-1", HELLO)).body == "hello"
        await host.nothing_left()
        assert await place(host, "team-a/s-2") == "204"


async def test_a_place_given_back_and_a_session_that_runs_count() -> None:
    release = asyncio.Event()
    async with a_host(AMBIT_SESSIONS_PER_SHARD="1") as host:
        assert await place(host, "team-a/s-1") == "204"
        async with host.request("DELETE", "/v1/sessions/team-a/s-1") as answer:
            assert answer.status == 204
        host.gateway.answer = held_until(release)
        running = asyncio.create_task(host.open("team-a/s-2", HOLD))
        await until(lambda: asyncio.sleep(0, bool(host.gateway.asked)))
        assert await place(host, "team-a/s-2") == "409 SessionExists"
        assert await place(host, "team-a/s-3") == "503 Full"
        release.set()
        assert (await running).body == "released"


def test_a_place_for_which_nobody_comes_is_free_again() -> None:
    settings = Settings.from_env(
        {
            "AMBIT_POD_UID": "uid",
            "AMBIT_POD_NAME": "default-isolate-host-0",
            "AMBIT_GATEWAY_URL": "http://gateway.ambit:8081",
            "AMBIT_GATEWAY_PUBLIC_KEY": "pem",
            "AMBIT_GATEWAY_TOKEN_FILE": "/token",
            "AMBIT_STATE_DIR": "/state",
        }
    )
    sessions = Sessions(Shards(settings, lambda _: web.Application()), limit=1)
    sessions.take_place("team-a/s-1", now_s=100)
    with pytest.raises(HostRefusal):
        sessions.take_place("team-a/s-2", now_s=100 + PLACE_KEPT_S - 1)
    sessions.take_place("team-a/s-2", now_s=100 + PLACE_KEPT_S)

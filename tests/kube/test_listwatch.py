"""What a cache shows after its watch was cut off, outdated, or refused."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from ambit.kube import Change, KubeClient, ListWatch
from ambit.kube.resources import PODS
from tests.kube.scripted import Answer, Script, a_list, a_pod, a_refusal, event, scripted


class Slim(msgspec.Struct):
    """What the tests keep of an object."""

    size: int = 0


def decode(raw: bytes) -> Slim:
    return msgspec.json.decode(raw, type=Slim)


@asynccontextmanager
async def a_cache(*answers: Answer) -> AsyncGenerator[tuple[ListWatch[Slim], list[str], Script]]:
    """A cache that runs against the script, and its changes as text; ready once the script is at its end."""
    async with scripted(*answers) as (script, client):
        cache = ListWatch(client, PODS, decode, label_selector="x=y")
        changes: list[str] = []
        cache.subscribe(lambda change: changes.append(as_text(change)))
        running = asyncio.create_task(cache.run())
        try:
            await asyncio.wait_for(script.exhausted.wait(), 60)
            yield cache, changes, script
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def as_text(change: Change[Slim]) -> str:
    sign = "+" if change.before is None else "-" if change.after is None else "~"
    return sign + change.key[1]


async def test_events_are_followed_from_the_list_on() -> None:
    events = [event("ADDED", a_pod("two", 11)), event("MODIFIED", a_pod("one", 12, size=5))]
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
    async with a_cache(
        a_list(10, a_pod("one", 9)), Answer(pieces=[*events, event("DELETED", a_pod("two", 13)), bookmark])
    ) as (cache, changes, script):
        assert changes == ["+one", "+two", "~one", "-two"]
        assert dict(cache.items) == {("a", "one"): Slim(size=5)}
        assert cache.synced.is_set()
        assert all("labelSelector=x%3Dy" in request or "labelSelector=x=y" in request for request in script.requests)
        assert "resourceVersion=10" in script.requests[1]
        assert "resourceVersion=20" in script.requests[2], "the bookmark is where the next watch goes on"


async def test_what_vanished_while_the_watch_was_outdated_is_reported_as_deleted() -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    async with a_cache(
        a_list(10, a_pod("kept", 1), a_pod("changed", 2), a_pod("vanished", 3)),
        Answer(pieces=[gone]),
        a_list(30, a_pod("kept", 1), a_pod("changed", 25), a_pod("new", 26)),
    ) as (cache, changes, script):
        assert changes == ["+kept", "+changed", "+vanished", "~changed", "+new", "-vanished"]
        assert {name for _, name in cache.items} == {"kept", "changed", "new"}
        assert "resourceVersion=30" in script.requests[-1]


async def test_a_watch_that_breaks_off_inside_an_event_is_taken_up_without_losing_it() -> None:
    whole = event("ADDED", a_pod("two", 12))
    async with a_cache(
        a_list(10, a_pod("one", 9)),
        Answer(pieces=[event("MODIFIED", a_pod("one", 11)), whole[:20]], broken=True),
        Answer(pieces=[whole]),
    ) as (_, changes, script):
        assert changes == ["+one", "~one", "+two"]
        assert "resourceVersion=11" in script.requests[2]


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refused_list_is_tried_again(status: int) -> None:
    async with a_cache(a_refusal(status, "", "not now"), a_list(10, a_pod("one", 9))) as (cache, changes, _):
        assert changes == ["+one"]
        assert cache.synced.is_set()


async def test_an_object_that_cannot_be_read_is_left_out_and_the_others_are_not() -> None:
    async with a_cache(
        a_list(10, a_pod("bad", 8, size="much"), a_pod("good", 9)),
        Answer(pieces=[event("MODIFIED", a_pod("good", 11, size="much"))]),
    ) as (cache, changes, _):
        assert changes == ["+good", "-good"]
        assert dict(cache.items) == {}


async def test_a_list_whose_continuation_expired_begins_anew() -> None:
    first = Answer(
        pieces=[
            msgspec.json.encode({"metadata": {"resourceVersion": "1", "continue": "c"}, "items": [a_pod("one", 1)]})
        ]
    )
    async with scripted(first, a_refusal(410, "Expired", "too old"), a_list(5, a_pod("two", 5))) as (script, client):
        assert [item["metadata"]["name"] for item in await client.list(PODS)] == ["two"]
        assert "continue=c" in script.requests[1]
        assert "limit" not in script.requests[2]


async def test_an_apiserver_that_is_away_is_waited_for() -> None:
    async with scripted() as (_, nowhere):
        config = nowhere.config
    async with KubeClient(config) as client:
        cache = ListWatch(client, PODS, decode)
        running = asyncio.create_task(cache.run())
        done, _ = await asyncio.wait([running], timeout=0.5)
        assert not done
        assert not cache.synced.is_set()
        running.cancel()

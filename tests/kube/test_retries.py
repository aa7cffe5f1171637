"""Which requests are sent a second time."""

import pytest

from ambit.kube import ApiError, Conflict, Forbidden, TooManyRequests, Unreachable
from ambit.kube.resources import PODS
from tests.kube.scripted import Answer, a_list, a_refusal, scripted


async def test_a_request_that_was_turned_away_before_it_was_carried_out_is_sent_again() -> None:
    busy = a_refusal(429, "TooManyRequests", "later", Retry_After="0")
    async with scripted(busy, busy, Answer(201, [b'{"kind":"Pod"}'])) as (script, client):
        assert await client.create(PODS, {}, "a") == {"kind": "Pod"}
        assert script.requests == ["POST /api/v1/namespaces/a/pods"] * 3


async def test_the_patience_ends() -> None:
    busy = a_refusal(429, "TooManyRequests", "later", Retry_After="0")
    async with scripted(*[busy] * 4) as (_, client):
        with pytest.raises(TooManyRequests, match="later"):
            await client.list(PODS)


async def test_429_without_retry_after_is_an_answer() -> None:
    # An eviction refused by a disruption budget is such a one.
    async with scripted(a_refusal(429, "TooManyRequests", "disruption budget")) as (script, client):
        with pytest.raises(TooManyRequests):
            await client.create(PODS, {}, "a", name="b", subresource="eviction")
        assert len(script.requests) == 1


async def test_a_creation_whose_answer_was_lost_is_not_sent_again() -> None:
    lost = Answer(201, [b'{"kind"'], broken=True)
    async with scripted(lost) as (script, client):
        with pytest.raises(Unreachable):
            await client.create(PODS, {}, "a")
        assert len(script.requests) == 1


async def test_a_reading_whose_answer_was_lost_is_sent_again() -> None:
    lost = Answer(200, [b'{"items"'], broken=True)
    async with scripted(lost, a_list(1)) as (script, client):
        assert await client.list(PODS) == []
        assert len(script.requests) == 2


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (409, Conflict), (500, ApiError)])
async def test_other_refusals_are_final(status: int, kind: type[ApiError]) -> None:
    async with scripted(a_refusal(status, "", "no")) as (script, client):
        with pytest.raises(kind, match="no"):
            await client.list(PODS)
        assert len(script.requests) == 1


async def test_an_answers_date_is_the_apiservers_clock() -> None:
    dated = Answer(403, [b"{}"], headers={"Date": "Sun, 06 Nov 1994 08:49:37 GMT"})
    undated = Answer(200, [b"{}"], headers={"Date": "now"})
    async with scripted(dated, undated) as (_, client):
        assert await client.clock_ms() == 784_111_777_000
        with pytest.raises(Unreachable):
            await client.clock_ms()

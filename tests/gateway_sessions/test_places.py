"""Where a session gets its place: on the least busy host that has room, on one host only, or nowhere, and said so."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ambit.api.base import ObjectKey
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.sessions.hosts import HostClient, Signer
from ambit.gateway.sessions.places import MOST_ASKED, Places
from ambit.gateway.sessions.placing import Host, in_order
from ambit.telemetry import metrics

POOL = ObjectKey("team-a", "default")
FULL = (503, {"x-ambit-host-error": "Full"})


@dataclass
class Hosts:
    """Servers where isolate hosts would listen; each answers as `answers` says (204 where it says nothing)."""

    all: list[Host] = field(default_factory=list[Host])
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict[str, tuple[int, dict[str, str]]])
    asked: list[str] = field(default_factory=list[str])
    """`METHOD uid path`, in order."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when one is asked."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Until it is set, nobody answers."""

    def asked_first(self, wanted: int) -> str:
        """A session for which the host of that number is asked first while all are idle."""
        return next(
            session
            for session in (f"s-{number}" for number in range(1000))
            if in_order(self.all, session, {})[0] is self.all[wanted]
        )


@pytest_asyncio.fixture
async def hosts() -> AsyncGenerator[Hosts]:
    made = Hosts()
    made.may_answer.set()
    runners: list[web.ServerRunner] = []
    for number in range(MOST_ASKED + 2):
        uid = f"uid-{number}"

        async def answer(request: web.BaseRequest, uid: str = uid) -> web.Response:
            made.asked.append(f"{request.method} {uid} {request.path}")
            made.heard.set()
            await made.may_answer.wait()
            status, headers = made.answers.get(uid, (204, {}))
            return web.Response(status=status, headers=headers)

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        address, port = runner.addresses[0][:2]
        made.all.append(Host(POOL.namespace, POOL.name, f"default-isolate-host-{number}", uid, address, port))
    yield made
    for runner in runners:
        await runner.cleanup()


@pytest_asyncio.fixture
async def places() -> AsyncGenerator[Places]:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    async with HostClient(Signer(pem)) as client:
        yield Places(client)


def counted(result: str) -> float:
    [family] = metrics.ISOLATE_PLACES.collect()
    return sum(
        sample.value for sample in family.samples if sample.labels == {"result": result} and "total" in sample.name
    )


async def test_the_least_busy_host_is_asked_first(hosts: Hosts, places: Places) -> None:
    two = hosts.all[:2]
    first = await places.take(POOL, two, "team-a", "s-1")
    second = await places.take(POOL, two, "team-a", "s-2")
    assert {first.uid, second.uid} == {"uid-0", "uid-1"}
    places.free(first)
    assert await places.take(POOL, two, "team-a", "s-3") is first


async def test_where_one_is_full_the_next_is_asked_and_it_alone_has_the_place(hosts: Hosts, places: Places) -> None:
    hosts.answers["uid-0"] = FULL
    full = counted("Full")
    session = hosts.asked_first(0)
    assert await places.take(POOL, hosts.all[:2], "team-a", session) is hosts.all[1]
    path = f"/v1/sessions/team-a/{session}/place"
    assert hosts.asked == [f"PUT uid-0 {path}", f"PUT uid-1 {path}"]
    assert counted("Full") == full + 1
    # What was refused is not counted as running there.
    del hosts.answers["uid-0"]
    assert await places.take(POOL, hosts.all[:2], "team-a", "s-2") is hosts.all[0]


@pytest.mark.parametrize("answer", [(500, {}), (503, {"x-ambit-host-error": "SessionExists"}), (401, {})])
async def test_a_host_that_does_not_answer_as_one_is_passed_over(
    hosts: Hosts, places: Places, answer: tuple[int, dict[str, str]]
) -> None:
    hosts.answers["uid-0"] = answer
    assert await places.take(POOL, hosts.all[:2], "team-a", hosts.asked_first(0)) is hosts.all[1]


async def test_where_all_are_full_it_is_429_and_says_what_to_do(hosts: Hosts, places: Places) -> None:
    hosts.answers |= {"uid-0": FULL, "uid-1": FULL}
    with pytest.raises(RefusedCall) as refused:
        await places.take(POOL, hosts.all[:2], "team-a", "s-1")
    assert (refused.value.status, refused.value.reason, refused.value.retry_after_s) == (429, "HostsFull", 5)
    assert "kubectl scale sandboxpool default -n team-a --replicas 3" in refused.value.message
    assert "ambit sessions team-a" in refused.value.message


async def test_no_more_than_a_few_hosts_are_asked(hosts: Hosts, places: Places) -> None:
    hosts.answers |= {host.uid: FULL for host in hosts.all}
    with pytest.raises(RefusedCall) as refused:
        await places.take(POOL, hosts.all, "team-a", "s-1")
    assert len(hosts.asked) == MOST_ASKED
    assert f"{MOST_ASKED} of its {MOST_ASKED + 2} ready hosts" in refused.value.message


async def test_where_none_answers_it_is_503(places: Places) -> None:
    nobody = Host("team-a", "default", "default-isolate-host-0", "uid-0", "127.0.0.1", 1)
    with pytest.raises(RefusedCall) as refused:
        await places.take(POOL, [nobody], "team-a", "s-1")
    assert (refused.value.status, refused.value.reason) == (503, "NotYetKnown")
    assert "default-isolate-host-0" in refused.value.message


async def test_a_place_that_is_given_back_is_free(hosts: Hosts, places: Places) -> None:
    host = await places.take(POOL, hosts.all[:1], "team-a", "s-1")
    await places.give_back(host, "team-a", "s-1")
    assert hosts.asked[-1] == "DELETE uid-0 /v1/sessions/team-a/s-1"
    session = hosts.asked_first(0)
    assert await places.take(POOL, hosts.all[:2], "team-a", session) is host


async def test_a_session_that_is_given_up_while_a_host_is_asked_counts_nowhere(hosts: Hosts, places: Places) -> None:
    hosts.may_answer.clear()
    session = hosts.asked_first(0)
    taking = asyncio.create_task(places.take(POOL, hosts.all[:2], "team-a", session))
    await asyncio.wait_for(hosts.heard.wait(), 30)
    taking.cancel()
    hosts.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert await places.take(POOL, hosts.all[:2], "team-a", session) is hosts.all[0]

"""Each pass of a reconciler is a trace of its own, and says how it ended, and no word of an error."""

import asyncio
from collections.abc import Callable

import pytest

from ambit.control.controller import Controller
from ambit.kube import Conflict, Key
from ambit.ledger.client import LedgerUnavailable
from tests.telemetry.in_memory import in_memory

KEY = ("team-a", "research")


class Once:
    """A reconciler that does as it is told, and says when it has."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self.asked = asyncio.Event()

    async def reconcile(self, key: Key) -> float | None:
        self.asked.set()
        self._act()
        return None


def _raise(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "result", "failed"),
    [
        (lambda: None, "success", False),
        (_raise(Conflict(409, "Conflict", "canary", "PUT")), "conflict", False),
        (_raise(LedgerUnavailable("canary")), "error", True),
        (_raise(RuntimeError("canary")), "defect", True),
    ],
)
async def test_a_pass_is_traced_with_its_result(act: Callable[[], None], result: str, failed: bool) -> None:
    with in_memory() as memory:
        reconciler = Once(act)
        controller = Controller("budget", reconciler, 1)
        running = asyncio.create_task(controller.run())
        controller.enqueue(KEY)
        await reconciler.asked.wait()  # nothing waits between this and the pass's end
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        span = memory.ended()["reconcile"]
    said = {"ambit.controller": "budget", "ambit.object": "team-a/research", "ambit.result": result}
    assert span.attributes == (said | {"error.type": result} if failed else said)
    assert (span.parent, span.status.is_ok) == (None, not failed)
    assert "canary" not in span.to_json()

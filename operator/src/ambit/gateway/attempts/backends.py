"""What this process knows of every backend: its circuit, and its calls under way.

Kept for a backend as it is written: one whose address or model is edited begins anew. Nothing is kept of a backend that
does well and is idle.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ambit.api.base import ObjectKey
from ambit.api.model_route import FallbackCause
from ambit.gateway.attempts.choice import Known
from ambit.gateway.attempts.circuit import Circuit, State
from ambit.policy import RouteBinding
from ambit.telemetry import metrics

ROOM_S: Final = 20.0
"""How long a call waits for a backend that has as many under way as it may."""

_OUT: Final = frozenset({State.OPEN, State.RESTING})


class BackendKey(NamedTuple):
    """One backend as it is written."""

    route: ObjectKey
    backend: str
    url: str
    model: str


class Out(NamedTuple):
    """A backend that takes no calls, and why."""

    route: ObjectKey
    backend: str
    cause: FallbackCause
    for_s: float


class _Backend:
    __slots__ = ("circuit", "under_way", "waiting")

    def __init__(self) -> None:
        self.circuit = Circuit()
        self.under_way = 0
        self.waiting: deque[tuple[asyncio.Future[None], int]] = deque()


class Backends:
    """By backend, its circuit and its calls. `clock_s` is monotonic; `on_change` is told when one goes out or comes
    back.
    """

    def __init__(self, clock_s: Callable[[], float], on_change: Callable[[], None] = lambda: None) -> None:
        self._clock_s = clock_s
        self._on_change = on_change
        self._backends: dict[BackendKey, _Backend] = {}

    # -- what is known -----------------------------------------------------
    def known(self, backends: Sequence[RouteBinding]) -> dict[str, Known]:
        """For a choice among these."""
        now_s = self._clock_s()
        return {backend.backend: self._known(backend, now_s) for backend in backends}

    def out(self) -> Iterator[Out]:
        """Every backend that takes no calls now."""
        now_s = self._clock_s()
        for key, one in self._backends.items():
            if one.circuit.cause is not None and one.circuit.state(now_s) in _OUT:
                yield Out(key.route, key.backend, one.circuit.cause, one.circuit.out_until_s - now_s)

    def _known(self, backend: RouteBinding, now_s: float) -> Known:
        one = self._backends.get(_key(backend))
        if one is None:
            return Known()
        circuit = one.circuit
        takes_calls = circuit.takes_calls(now_s)
        return Known(
            takes_calls=takes_calls,
            has_room=backend.max_concurrent is None or (one.under_way < backend.max_concurrent and not one.waiting),
            cause=None if takes_calls else circuit.cause,
            out_for_s=max(0.0, circuit.out_until_s - now_s),
        )

    # -- calls under way -----------------------------------------------------
    def enter(self, backend: RouteBinding) -> asyncio.Future[None] | None:
        """Takes a place among its calls under way; `leave` gives it back. A future where there is none now: it is done
        once there is, first come, first served; whoever waits no more cancels it, and need not leave.
        """
        one = self._backends.setdefault(_key(backend), _Backend())
        limit = backend.max_concurrent
        if limit is None or (one.under_way < limit and not one.waiting):
            one.under_way += 1
            return None
        place = asyncio.get_running_loop().create_future()
        one.waiting.append((place, limit))
        return place

    def leave(self, backend: RouteBinding) -> None:
        """A call that had a place has ended, or is not made after all."""
        key = _key(backend)
        one = self._backends[key]
        one.under_way -= 1
        while one.waiting:
            place, limit = one.waiting[0]
            if place.done():
                one.waiting.popleft()
            elif one.under_way < limit:
                one.waiting.popleft()
                one.under_way += 1
                place.set_result(None)
            else:
                break
        self._forget_idle(key, one)

    # -- what became of them ---------------------------------------------------
    def sent(self, backend: RouteBinding) -> None:
        self._become(backend, lambda circuit, now_s: circuit.sent(now_s))

    def answered(self, backend: RouteBinding) -> None:
        self._become(backend, lambda circuit, now_s: circuit.answered(now_s))

    def completed(self, backend: RouteBinding) -> None:
        self._become(backend, lambda circuit, _: circuit.completed())

    def failed(self, backend: RouteBinding, cause: FallbackCause, retry_after_s: float | None = None) -> None:
        self._become(backend, lambda circuit, now_s: circuit.failed(cause, now_s, retry_after_s))

    def abandoned(self, backend: RouteBinding) -> None:
        self._become(backend, lambda circuit, _: circuit.abandoned())

    def _become(self, backend: RouteBinding, step: Callable[[Circuit, float], Circuit]) -> None:
        key, now_s = _key(backend), self._clock_s()
        one = self._backends.setdefault(key, _Backend())
        before, one.circuit = one.circuit, step(one.circuit, now_s)
        is_out = one.circuit.state(now_s) in _OUT
        if is_out and before.state(now_s) not in _OUT and one.circuit.cause is not None:
            metrics.GATEWAY_BACKEND_OUT.labels(str(key.route), key.backend, one.circuit.cause.value).inc()
            self._on_change()
        elif before.is_open and not one.circuit.is_open:
            self._on_change()
        self._forget_idle(key, one)

    def _forget_idle(self, key: BackendKey, one: _Backend) -> None:
        does_well = one.circuit.failures == 0 and not one.circuit.is_open
        if does_well and not one.under_way and not one.waiting and one.circuit.takes_calls(self._clock_s()):
            self._backends.pop(key, None)


def _key(backend: RouteBinding) -> BackendKey:
    return BackendKey(backend.route, backend.backend, backend.url, backend.model)

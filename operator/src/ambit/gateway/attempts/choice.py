"""Which backend a call goes to. Pure: the route's backends, what is known of each, what was tried, and a draw."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ambit.api.model_route import FallbackCause
from ambit.policy import RouteBinding


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a backend at the moment of the choice."""

    takes_calls: bool = True
    has_room: bool = True
    """Fewer calls than its `maxConcurrent` are under way."""
    cause: FallbackCause | None = None
    """Why it takes no calls."""
    out_for_s: float = 0.0
    """For how long it takes none yet, as far as is known."""


@dataclass(frozen=True, slots=True)
class NoneLeft:
    """No backend can take the call."""

    causes: tuple[FallbackCause, ...]
    """Of those that are out."""
    next_in_s: float | None
    """When the first of these takes calls again; None where every one was tried."""


def choose(
    backends: Sequence[RouteBinding], known: Mapping[str, Known], tried: Collection[str], draw: float
) -> RouteBinding | NoneLeft:
    """The next backend: one of the lowest priority among those that take calls and have room, by weight; where none has
    room, among all that take calls, to wait for. Each is tried once. `draw` is from [0, 1).
    """
    untried = [backend for backend in backends if backend.backend not in tried]
    taking = [backend for backend in untried if known[backend.backend].takes_calls]
    if not taking:
        out = [known[backend.backend] for backend in untried]
        causes = tuple(one.cause for one in out if one.cause is not None)
        return NoneLeft(causes, min((one.out_for_s for one in out), default=None))
    with_room = [backend for backend in taking if known[backend.backend].has_room] or taking
    first = min(backend.priority for backend in with_room)
    return _weighted([backend for backend in with_room if backend.priority == first], draw)


def _weighted(backends: Sequence[RouteBinding], draw: float) -> RouteBinding:
    mark = draw * sum(backend.weight for backend in backends)
    for backend in backends:
        mark -= backend.weight
        if mark < 0:
            return backend
    return backends[-1]

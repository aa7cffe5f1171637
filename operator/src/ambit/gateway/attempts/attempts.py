"""The attempts of one call: which backend is next, whether a failure goes to another, and what the client is told where
none is left.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from ambit.api.model_route import FallbackCause
from ambit.gateway import bounds
from ambit.gateway.attempts.backends import Backends
from ambit.gateway.attempts.choice import NoneLeft, choose
from ambit.gateway.attempts.failures import failure_of, retry_after_s
from ambit.gateway.models.wire_format import Call, RefusedCall
from ambit.gateway.refusals import LONGEST_RETRY_AFTER_S
from ambit.gateway.server.http import Headers
from ambit.policy import RouteBinding, UsableModel
from ambit.telemetry import metrics
from ambit.telemetry.reasons import Refusal

_NO_ROOM: Final = frozenset({Refusal.LIMIT_EXCEEDED, Refusal.ROOM_HELD})


@dataclass(frozen=True, slots=True)
class _Tried:
    backend: RouteBinding
    became: str
    """For people: what became of it."""
    cause: FallbackCause
    retry_after_s: float | None


def priced(call: Call, model: UsableModel) -> UsableModel:
    """The model with the backends whose prices say what the call can come to. Raises RefusedCall where none does."""
    able: list[RouteBinding] = []
    refused: RefusedCall | None = None
    for backend in model.backends:
        try:
            able.append(bounds.priced_for(call, backend))
        except RefusedCall as unpriced:
            refused = refused or unpriced
    if refused is not None and not able:
        raise refused
    return replace(model, backends=tuple(able))


class Attempts:
    """One call's. `next` chooses; then `Attempt` follows what becomes of the one that was chosen."""

    def __init__(self, backends: Backends, model: UsableModel, draw: Callable[[], float]) -> None:
        self._backends = backends
        self._model = model
        self._draw = draw
        self._tried: list[_Tried] = []
        self.counted = False
        """Whether an attempt that was charged has counted the call: a call counts once, its tokens each time."""

    @property
    def number(self) -> int:
        """Of the attempt that is next or under way, from 1."""
        return len(self._tried) + 1

    @property
    def has_failed(self) -> bool:
        """Whether a backend has failed the call."""
        return bool(self._tried)

    def next(self) -> "Attempt":
        """The next attempt. Raises RefusedCall where no backend can take the call."""
        chosen = self._choose(self._names_tried)
        if isinstance(chosen, NoneLeft):
            raise self._none_left(chosen)
        return Attempt(self, self._backends, chosen)

    def goes_on_after(self, backend: RouteBinding, cause: FallbackCause) -> bool:
        """Whether another backend is tried once this one has failed the call so."""
        if cause not in self._model.fall_back_when or self.number >= self._model.max_attempts:
            return False
        return isinstance(self._choose({*self._names_tried, backend.backend}), RouteBinding)

    def note(self, tried: _Tried) -> None:
        """An attempt has failed, and the next one follows."""
        backend = tried.backend
        metrics.GATEWAY_FALLBACKS.labels(str(backend.route), backend.backend, tried.cause.value).inc()
        self._tried.append(tried)

    def without_room(self, refused: RefusedCall) -> RefusedCall:
        """What the client is told where nothing can be held for the backend that was chosen. Where another is out, or
        has failed the call, that is the reason: it may cost less, so that the bound is not known to be spent.
        """
        known = self._backends.known(self._model.backends)
        others = [backend for backend in self._model.backends if not known[backend.backend].takes_calls]
        if refused.reason not in _NO_ROOM or not (self._tried or others):
            return refused
        out = [known[backend.backend] for backend in others]
        causes = tuple(one.cause for one in out if one.cause is not None)
        return self._none_left(NoneLeft(causes, min((one.out_for_s for one in out), default=None)), refused.message)

    def full(self, backend: RouteBinding, waited_s: float) -> RefusedCall:
        """429: it had no room for another call for so long."""
        says = (
            f"{self._route}: backend {backend.backend} has as many calls under way as it may"
            f" ({backend.max_concurrent}), and none ended within {waited_s:g} s"
        )
        return RefusedCall(429, Refusal.NO_BACKEND, says, retry_after_s=1)

    @property
    def story(self) -> str:
        """What became of the attempts before, for people."""
        return "".join(f"{one.backend.backend}: {one.became}; " for one in self._tried)

    @property
    def _route(self) -> str:
        return f"ModelRoute {self._model.route}"

    @property
    def _names_tried(self) -> Collection[str]:
        return {one.backend.backend for one in self._tried}

    def _choose(self, tried: Collection[str]) -> RouteBinding | NoneLeft:
        backends = self._model.backends
        return choose(backends, self._backends.known(backends), tried, self._draw())

    def _none_left(self, left: NoneLeft, no_room: str = "") -> RefusedCall:
        """429 where every one is rate limited, else 503; with the time after which the first may be back."""
        causes = {*left.causes, *(one.cause for one in self._tried)}
        waits = [one.retry_after_s for one in self._tried if one.retry_after_s is not None]
        if left.next_in_s is not None:
            waits.append(left.next_in_s)
        known = self._backends.known(self._model.backends)
        out = "; ".join(
            f"{name} is out for {one.out_for_s:.0f} s ({one.cause.value})"
            for name, one in known.items()
            if one.cause is not None and name not in self._names_tried
        )
        says = "; ".join(part for part in (self.story.removesuffix("; "), out, no_room) if part)
        return RefusedCall(
            429 if causes == {FallbackCause.RATE_LIMITED} else 503,
            Refusal.NO_BACKEND,
            f"{self._route}: no backend can take the call: {says or 'each is being tried by another call'}",
            retry_after_s=max(1, min(LONGEST_RETRY_AFTER_S, -int(-min(waits, default=1.0) // 1))),
        )


class Attempt:
    """One call at one backend, from its being sent to what became of it."""

    def __init__(self, attempts: Attempts, backends: Backends, route: RouteBinding) -> None:
        self.route = route
        self._attempts = attempts
        self._backends = backends
        self._answered: bool | None = None
        """Whether its answer, once there is a head, is no failure."""
        self._cause = FallbackCause.UNAVAILABLE
        self._rest_s: float | None = None

    def sent(self) -> None:
        """It is being sent."""
        self._backends.sent(self.route)

    def on_head(self, status: int, headers: Headers) -> bool:
        """Takes the head of the answer; whether it is kept from the client, since another backend is tried."""
        cause = failure_of(status)
        self._answered = cause is None
        if cause is None:
            self._backends.answered(self.route)
            return False
        self._cause, self._rest_s = cause, retry_after_s(headers, datetime.now(UTC))
        self._backends.failed(self.route, cause, self._rest_s)
        return self._attempts.goes_on_after(self.route, cause)

    def broke(self, cause: FallbackCause, *, answering: bool) -> bool:
        """It could not be reached, broke off or kept silent; whether another backend is tried. `answering`: the client
        has had something of the answer.
        """
        if self._answered is False:
            return False  # it has failed already, and its error broke off, too
        self._cause = cause
        self._backends.failed(self.route, cause)
        return not answering and self._attempts.goes_on_after(self.route, cause)

    def completed(self) -> None:
        """Its answer came to its end."""
        if self._answered:
            self._backends.completed(self.route)

    def abandoned(self) -> None:
        """It ended from our side."""
        if self._answered is None:
            self._backends.abandoned(self.route)

    def gave_up(self, became: str) -> None:
        """It has failed, and the next one follows. `became`: how, for people."""
        self._attempts.note(_Tried(self.route, became, self._cause, self._rest_s))

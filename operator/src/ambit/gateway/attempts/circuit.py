"""Whether a backend is called, by what became of its calls: a circuit that opens, rests, and lets one call try. Pure.

Closed, every call goes through. Five failures in a row open it, and nothing is sent for 5 s, for twice as long each
time that it opens again without a call completed between, at most 30 s. Then it is half open: one call is sent, and its
answer decides. A provider that says how long it wants to be left alone is left alone for so long, in any case.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ambit.api.model_route import FallbackCause

FAILURES_TO_OPEN: Final = 5
FIRST_REST_S: Final = 5.0
LONGEST_REST_S: Final = 30.0


class State(StrEnum):
    """What the circuit is at one moment."""

    CLOSED = "Closed"
    RESTING = "Resting"
    """Closed, but the provider asked to be left alone until later."""
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is remembered of one backend. Times are seconds of one monotonic clock."""

    failures: int = 0
    """In a row."""
    is_open: bool = False
    """Until a call is answered well; half open once `out_until_s` has come."""
    opened: int = 0
    """How often it opened without a call completed since."""
    out_until_s: float = float("-inf")
    """Nothing is sent before."""
    cause: FallbackCause | None = None
    """The last failure."""
    trying: bool = False
    """Half open, and the one call is under way."""

    def state(self, now_s: float) -> State:
        if now_s < self.out_until_s:
            return State.OPEN if self.is_open else State.RESTING
        return State.HALF_OPEN if self.is_open else State.CLOSED

    def takes_calls(self, now_s: float) -> bool:
        """Whether a call may be sent now."""
        state = self.state(now_s)
        return state is State.CLOSED or (state is State.HALF_OPEN and not self.trying)

    def sent(self, now_s: float) -> "Circuit":
        """A call is being sent, which `takes_calls` allowed."""
        return replace(self, trying=True) if self.state(now_s) is State.HALF_OPEN else self

    def answered(self, now_s: float) -> "Circuit":
        """The head of an answer came, and is no failure: calls go through again. What is left of the count stays until
        an answer is complete, so that a backend which always breaks off is noticed, too.
        """
        if self.state(now_s) is not State.HALF_OPEN:
            return self
        return replace(self, is_open=False, trying=False, failures=FAILURES_TO_OPEN - 1)

    def completed(self) -> "Circuit":
        """A call was answered to its end. One that was sent before the circuit opened says nothing of now."""
        return self if self.is_open else Circuit(out_until_s=self.out_until_s, cause=self.cause)

    def failed(self, cause: FallbackCause, now_s: float, retry_after_s: float | None = None) -> "Circuit":
        """A call failed. Failures of calls that were sent before it opened open it no further."""
        rest_until_s = self.out_until_s if retry_after_s is None else max(self.out_until_s, now_s + retry_after_s)
        if self.state(now_s) is State.OPEN:
            return replace(self, out_until_s=rest_until_s)
        failed = replace(self, failures=self.failures + 1, cause=cause, trying=False, out_until_s=rest_until_s)
        if not self.is_open and failed.failures < FAILURES_TO_OPEN:
            return failed
        open_s = min(LONGEST_REST_S, FIRST_REST_S * 2**self.opened)
        until_s = max(rest_until_s, now_s + open_s)
        return replace(failed, is_open=True, opened=self.opened + 1, out_until_s=until_s)

    def abandoned(self) -> "Circuit":
        """A call ended without a word of the backend's: another may try."""
        return replace(self, trying=False)

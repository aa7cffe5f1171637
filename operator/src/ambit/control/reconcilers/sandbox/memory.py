"""What the operator remembers of one Sandbox between passes. All of it can be found out again after a restart."""

from dataclasses import dataclass, replace
from typing import Final

from ambit.control.objects import Pod
from ambit.control.reconcilers.sandbox.runtime import Hold
from ambit.control.reconcilers.sandbox.state import Ending, Session
from ambit.ledger import wire
from ambit.ledger.amounts import Amount

ASSUMED_MS: Final = 10_000
"""So long a Pod that the apiserver itself has shown counts as there, though the watch has not shown it."""


@dataclass
class Memory:
    """Of one Sandbox, by UID."""

    uid: str
    session: Session | None = None
    """None: the ledger has to be asked."""
    answered: Pod | None = None
    """The Pod as its creation, or a look at it, was answered; the watch has not shown it since."""
    answered_at_ms: int = 0
    last_pod: Pod | None = None
    """The Pod as it was last seen."""
    policy_made: bool = False
    token_made: bool = False
    denial: str | None = None
    stopped_for: Ending | None = None
    told_reason: str = ""
    """The reason of the Ready condition as it is counted in the metric."""

    def pod(self, cached: Pod | None, now_ms: int) -> Pod | None:
        """The Pod that is there, by the cache or, for a moment, by the apiserver's own answer.

        After that it is unknown: None, until it is looked at again.
        """
        if cached is not None:
            self.last_pod, self.answered = cached, None
            return cached
        if self.answered is not None and now_ms - self.answered_at_ms >= ASSUMED_MS:
            self.last_pod, self.answered = self.answered, None
        return self.answered

    def saw(self, pod: Pod | None, now_ms: int) -> None:
        """The apiserver itself has shown the Pod, or said that there is none."""
        self.last_pod = pod or self.answered or self.last_pod
        self.answered, self.answered_at_ms = pod, now_ms

    def granted(self, hold_id: str, sequence: int, amount_ms: int, expires_at_ms: int) -> None:
        """An extension was granted."""
        if self.session is None or self.session.hold is None or self.session.hold.id != hold_id:
            return
        hold = self.session.hold
        more = replace(hold, sequence=sequence, granted_ms=hold.granted_ms + amount_ms, expires_at_ms=expires_at_ms)
        self.session = replace(self.session, hold=more)
        if amount_ms > 0:
            self.denial = None

    def held(self, hold: Hold) -> None:
        """The first slice, or a further hold, was granted."""
        if self.session is not None:
            self.session = replace(self.session, hold=hold)
            self.denial = None


def session_of(usage: wire.Usage, hold_prefix: str, now_ms: int) -> Session:
    """What the ledger's answer says of a session. `hold_prefix`: the id of its first runtime hold."""
    ended = None
    if usage.closed_reason is not None:
        ended = Ending(usage.closed_reason, usage.closed_message)
    hold = None
    for view in usage.holds:
        if view.id == hold_prefix or view.id.startswith(f"{hold_prefix}/"):
            hold = Hold(
                id=view.id,
                granted_ms=view.amount.runtime_ms,
                sequence=view.sequence,
                expires_at_ms=now_ms + view.expires_in_ms,
                charged_ms=usage.spent.runtime_ms,
            )
    return Session(exists=True, attributes=usage.attributes, ended=ended, hold=hold, spent=usage.spent)


UNKNOWN_SESSION: Final = Session(exists=False, attributes={}, ended=None, hold=None, spent=Amount())

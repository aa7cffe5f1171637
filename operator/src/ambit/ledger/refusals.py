"""What becomes of refusals in the audit: the first of a bound at once, then one count a minute while they go on.

An agent that asks again and again would otherwise fill the disk by being refused.
"""

import heapq
from collections.abc import Iterator

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.audit import AuditedRefusal, AuditedRefusals
from ambit.ledger.timers import NEVER
from ambit.ledger.wire import Denial, RefusalReason

MINUTE_MS = 60_000
Bound = tuple[str, RefusalReason, Window, Resource, bool]
"""An account, what of it refuses, and whether it only would have, in Shadow."""


class RefusalTally:
    """How often each bound refused since it was last told. In memory alone: a restart tells the next one at once.

    A crash loses counts of the running minute at most, never the first refusal.
    """

    def __init__(self) -> None:
        self._counts: dict[Bound, int] = {}
        self._due: list[tuple[int, Bound]] = []
        """A heap: when each bound's minute is over."""

    def note(self, denial: Denial, session: str, now_ms: int, *, shadow: bool = False) -> AuditedRefusal | None:
        """Counts a refusal of something to a session. What is to be told at once, if anything is."""
        if denial.window is None or denial.resource is None:
            return None  # no bound refuses here: the session has ended, or the account is gone
        bound = (denial.account, denial.reason, denial.window, denial.resource, shadow)
        if bound in self._counts:
            self._counts[bound] += 1
            return None
        self._counts[bound] = 0
        heapq.heappush(self._due, (now_ms + MINUTE_MS, bound))
        return AuditedRefusal(
            reason=denial.reason,
            session=session,
            window=denial.window,
            resource=denial.resource,
            limit=denial.limit,
            spent=denial.spent,
            held=denial.held,
            requested=denial.requested,
            shadow=shadow,
        )

    def add(self, bound: Bound, count: int, now_ms: int) -> None:
        """Counts refusals that others gave by one of the ledger's own: that one was told already."""
        if bound not in self._counts:
            self._counts[bound] = 0
            heapq.heappush(self._due, (now_ms + MINUTE_MS, bound))
        self._counts[bound] += count

    @property
    def next_due_ms(self) -> int:
        """When a minute is over next; far away, if none is counted."""
        return self._due[0][0] if self._due else NEVER

    def due(self, now_ms: int) -> Iterator[tuple[str, AuditedRefusals]]:
        """The accounts and counts of the minutes that are over. A bound that was silent for one is forgotten."""
        while self._due and self._due[0][0] <= now_ms:
            ended_ms, bound = heapq.heappop(self._due)
            count = self._counts.pop(bound)
            if count:
                path, reason, window, resource, shadow = bound
                yield path, AuditedRefusals(reason, window, resource, count, now_ms - ended_ms + MINUTE_MS, shadow)
                self._counts[bound] = 0
                heapq.heappush(self._due, (now_ms + MINUTE_MS, bound))

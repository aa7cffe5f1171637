"""When a ledger that is alive leaves a partition to the others, because it cannot write it. Pure: time is an argument.

Whoever is the first choice and alive would keep a partition from all others for as long as it fails to write it.
"""

GIVE_UP_S = 15.0
"""How long it tries, while others could. A busy machine takes seconds to begin a term, and nothing is wrong with it."""
LEFT_S = 600.0
"""How long it then leaves the partition to them. Each trial takes it from whoever writes it well meanwhile."""
STEADY_S = 10.0
"""How long it has to write it for what was before to count no more."""


class Trouble:
    """What one ledger has had with one partition."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._answers_since_s: float | None = None
        self._left_until_s = float("-inf")

    def look(self, *, is_mine: bool, answers: bool, tried: bool, others: bool, now_s: float) -> bool:
        """Whether to give the partition up now.

        `is_mine`: this ledger is its choice. `tried`: it is on its way to write it, or failed to; else it waits for one
        that writes it yet. `others`: there are ledgers that may do better.
        """
        if not (is_mine and tried):
            self.forget()
            return False
        if answers:
            self._answers_since_s = self._answers_since_s or now_s
            if now_s - self._answers_since_s >= STEADY_S:
                self._since_s = None
            return False
        self._answers_since_s = None
        if self._since_s is None:
            self._since_s = now_s
            return False
        if not others or now_s - self._since_s < GIVE_UP_S:
            return False
        self.forget()
        self._left_until_s = now_s + LEFT_S
        return True

    def forget(self) -> None:
        """Whatever was, was nobody's fault: the store was away, or it is no longer this ledger's to write."""
        self._since_s = self._answers_since_s = None

    def is_left(self, now_s: float) -> bool:
        """Whether the partition is left to others now."""
        return now_s < self._left_until_s

"""When a writer's place may be taken."""

from ambit.ledger.journal.shared import Standing

SILENCE_S = 2.5
"""How long a writer's beat may stand still."""


class Silence:
    """How long a writer has been silent, by whoever looks at its place again and again."""

    def __init__(self) -> None:
        self._seen: tuple[Standing, float] | None = None

    def is_due(self, standing: Standing, now_s: float) -> bool:
        """Whether the place can be taken: it was left, or its writer has done nothing for `SILENCE_S`."""
        if self._seen is None or self._seen[0] != standing:
            self._seen = (standing, now_s)
        return not standing.held or now_s - self._seen[1] > SILENCE_S

    def begin_again(self) -> None:
        """Forgets what was seen."""
        self._seen = None

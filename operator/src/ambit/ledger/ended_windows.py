"""What accounts have spent in windows that are over, until it is recorded.

Noted are all of a window when it ends, and what is charged to it or corrected of it afterwards. What is noted and not
recorded is part of the tree, hence of every snapshot.
"""

from collections.abc import Iterator

from ambit.ledger.allowance import KEPT_WINDOWS
from ambit.ledger.amounts import NOTHING, Vector, Window, plus
from ambit.ledger.running import Ended


class EndedWindows:
    """By account. Windows of which there is no history, and those in which nothing was spent, leave no trace."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[Window, int, int], Vector]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def paths(self) -> list[str]:
        """The accounts of which something is to be recorded."""
        return list(self._of)

    def note(self, path: str, ended: Ended) -> None:
        """Adds to what is to be recorded of an account."""
        if ended.window not in KEPT_WINDOWS or not ended.spent:
            return
        place = (ended.window, ended.start_ms, ended.end_ms)
        noted = self._of.setdefault(path, {})
        spent = {index: amount for index, amount in plus(noted.get(place, NOTHING), ended.spent).items() if amount}
        if spent:
            noted[place] = spent
            return
        noted.pop(place, None)
        if not noted:
            del self._of[path]

    def of(self, path: str) -> Iterator[Ended]:
        """What is to be recorded of an account."""
        for (window, start_ms, end_ms), spent in self._of.get(path, {}).items():
            yield Ended(window, start_ms, end_ms, spent)

    def recorded(self, path: str) -> None:
        """It is."""
        self._of.pop(path, None)

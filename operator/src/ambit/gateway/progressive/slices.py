"""When a stream's hold has to grow, by how much, and when the stream is over: arithmetic alone.

All counts are output tokens of all choices together. What a stream has shown is counted by its bytes, which is at least
what its provider bills (`models.output_bytes`), some four or five times as much for ordinary text.
"""

from dataclasses import dataclass, replace
from typing import Final

UNDER_WAY_TOKENS: Final = 1_024
"""Held beyond what has been shown, at least: what the provider has written, and bills, before a cut reaches it. Half a
second of the fastest servers there are (2,000 tokens a second), ten of ordinary ones; a cut takes 100 ms and the way.
"""
LEAD_TOKENS: Final = 2_048
"""So much before the hold is used up, more is asked for: at 100 tokens a second, of which each is counted with its four
or five bytes, some five seconds; an answer of the ledger takes milliseconds."""
SLICE_TOKENS: Final = 8_192
"""What is asked for at a time: of ordinary text one question to the ledger for each 2,000 tokens."""
LEAST_TOKENS: Final = 512
"""A slice smaller than this is of no use."""


@dataclass(frozen=True, slots=True)
class Cover:
    """What is held of a call's output, and the most that it may come to."""

    held: int
    whole: int
    """Once so much is held, nothing more ever is, and nothing is cut: the provider keeps to the limit it was given."""
    at_a_time: int = 0
    """The most that came at a time: so much may come again before it can be cut."""

    def needed(self, shown: int | None) -> int:
        """What has to be held once so much was shown; None: it cannot be told, and may be anything."""
        return self.whole if shown is None else min(self.whole, shown + self._under_way)

    @property
    def _under_way(self) -> int:
        return max(UNDER_WAY_TOKENS, self.at_a_time)

    def enough(self, shown: int | None) -> bool:
        """Whether what is held covers what may have been billed by now."""
        return self.needed(shown) <= self.held

    def wanted(self, shown: int | None) -> int:
        """How much should be held by now, with what leads; `held` where no more need be asked for."""
        needed = self.needed(shown)
        if self.held >= self.whole or needed + LEAD_TOKENS <= self.held:
            return self.held
        return min(self.whole, max(self.held + SLICE_TOKENS, needed + LEAD_TOKENS))

    @property
    def asks_beyond(self) -> int:
        """The most that may have been shown so that nothing need be asked for: a question of one comparison."""
        return self.whole if self.held >= self.whole else self.held - LEAD_TOKENS - self._under_way

    def least(self, shown: int | None) -> int:
        """What has to be held at least, for an extension to be worth anything."""
        return min(self.whole, max(self.held + LEAST_TOKENS, self.needed(shown)))

    def grown(self, held: int) -> "Cover":
        """After an extension."""
        return replace(self, held=min(held, self.whole))

    def came(self, at_a_time: int) -> "Cover":
        """After more came at a time than ever."""
        return replace(self, at_a_time=at_a_time)

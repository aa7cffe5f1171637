"""A hold that this process has at the ledger, and what a call needs of one."""

from dataclasses import dataclass, replace

from ambit.ledger.amounts import Amount


@dataclass(frozen=True, slots=True)
class Need:
    """What a call is to hold at first."""

    want: Amount
    at_least: Amount
    useful: Amount
    """At least so much, while it is only others who are in the way."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one upstream attempt."""

    id: str
    amount: Amount
    expires_at_s: float
    """By the loop's clock, and not before that: counted from when it was asked for."""
    next_sequence: int = 1
    """The number of its next extension."""

    def extended(self, more: Amount, expires_at_s: float) -> "Hold":
        """The hold after an extension was granted."""
        return replace(self, amount=self.amount + more, expires_at_s=expires_at_s, next_sequence=self.next_sequence + 1)

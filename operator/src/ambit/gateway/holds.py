"""A hold that this process has at the ledger."""

from dataclasses import dataclass

from ambit.ledger.amounts import Amount


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one upstream attempt."""

    id: str
    amount: Amount
    expires_at_s: float
    """By the loop's clock, and not before that: counted from when it was asked for."""
    next_sequence: int = 1
    """The number of its next extension."""

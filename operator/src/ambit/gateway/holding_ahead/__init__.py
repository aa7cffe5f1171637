"""Holding ahead (rule 3 of docs/ledger.md): what a session's next call needs is held while it is not yet made.

The bound is held and journalled before the act as always; what is saved is the wait for it. `estimate` says how much,
`ahead` takes, hands out and gives back.
"""

from ambit.gateway.holding_ahead.ahead import HoldingAhead

__all__ = ["HoldingAhead"]

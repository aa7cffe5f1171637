"""Progressive holds: a stream holds its input and a first slice of its output, and more as the output flows.

`typical` says how large the first slice is, `slices` when more is needed and when it is too late, `growing_hold` asks
the ledger. The reasons for the figures: docs/design/0009-holds-that-grow.md.
"""

from ambit.gateway.progressive.growing_hold import Caller, Ended, GrowingHold, Over, is_final
from ambit.gateway.progressive.slices import Cover
from ambit.gateway.progressive.typical import TypicalOutput

__all__ = ["Caller", "Cover", "Ended", "GrowingHold", "Over", "TypicalOutput", "is_final"]

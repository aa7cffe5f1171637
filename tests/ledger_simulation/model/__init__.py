"""The oracle's own ledger: the rules once more, as plainly as they can be written, and by another method.

Production keeps one running total per account and baselines; the model keeps a counter for each window that runs. It is
told every operation that the writer applied, in order, with its answer, and says what is wrong with the answer. It
counts by what was answered, so that it does not drift from a ledger that erred, and it is made again from the facts on
the disk whenever a ledger recovers.

`facts` is what it is told, `accounts` and `holds` what it remembers, `state` all of that together, `admission` says
what is due to whoever wants to hold something, `holding`, `tree`, `sessions`, `kills` and `exhaustion` take up what
was answered, `machine` asks each of them, `comparison` holds the ledger's own view against it.
"""

from tests.ledger_simulation.model.accounts import ModelAccount
from tests.ledger_simulation.model.comparison import differences
from tests.ledger_simulation.model.facts import Fact
from tests.ledger_simulation.model.machine import Model

__all__ = ["Fact", "Model", "ModelAccount", "differences"]

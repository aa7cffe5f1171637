"""How much goes wrong in a run: drawn once per seed, so that some seeds are calm and some are all weather.

Swarm testing: each kind of fault is present in a part of the seeds only, because faults hide each other's effects.
"""

from dataclasses import dataclass
from random import Random


@dataclass
class Faults:
    """Chances between 0 and 1, each for one occasion, and times in seconds."""

    lost_request: float = 0.0
    lost_answer: float = 0.0
    repeated_request: float = 0.0
    late: float = 0.0
    """Of a message: to take up to `LATE_S` instead of a millisecond, so that it is overtaken."""
    append_fails: float = 0.0
    """The journal says no, and has kept nothing."""
    append_unknown: float = 0.0
    """The journal says that it does not know; in half of the cases it has kept the batch."""
    disk_fills: float = 0.0
    slow_sync: float = 0.0
    ledger_dies: float = 0.0
    """Within a burst of work, at one of the next steps of the ledger's process."""
    ledger_stops: float = 0.0
    """SIGSTOP for longer than every timeout; another ledger takes over meanwhile."""
    holder_dies: float = 0.0
    clock_jumps: float = 0.0
    snapshots_often: bool = False

    @classmethod
    def of_seed(cls, random: Random) -> "Faults":
        """Each kind in about every third seed."""

        def sometimes(chance: float) -> float:
            return chance if random.random() < 0.35 else 0.0

        return cls(
            lost_request=sometimes(0.05),
            lost_answer=sometimes(0.05),
            repeated_request=sometimes(0.1),
            late=sometimes(0.1),
            append_fails=sometimes(0.005),
            append_unknown=sometimes(0.01),
            disk_fills=sometimes(0.004),
            slow_sync=sometimes(0.05),
            ledger_dies=sometimes(0.012) or sometimes(0.012),
            ledger_stops=sometimes(0.005),
            holder_dies=sometimes(0.01),
            clock_jumps=sometimes(0.02),
            snapshots_often=random.random() < 0.4,
        )

    def stop(self) -> None:
        """From now on nothing goes wrong."""
        for name in self.__dataclass_fields__:
            setattr(self, name, False if name == "snapshots_often" else 0.0)

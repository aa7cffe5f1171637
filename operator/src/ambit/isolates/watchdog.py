"""When a shard counts as hung. Pure.

One agent's `while (true) {}` stops every agent of its shard, and nothing short of SIGKILL ends it. Silence alone is a
poor sign of it on a busy machine, where a healthy process may simply not get its turn; so the budget is CPU time that
the shard used while it left a heartbeat unanswered. The second budget catches what hangs without using any.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HangBudget:
    cpu_ms: int
    wall_ms: int


def is_hung(silent_ms: float, cpu_used_ms: float, budget: HangBudget) -> bool:
    """`cpu_used_ms`: what the shard used since the heartbeat was sent, `silent_ms` ago."""
    return min(silent_ms, cpu_used_ms) >= budget.cpu_ms or silent_ms >= budget.wall_ms

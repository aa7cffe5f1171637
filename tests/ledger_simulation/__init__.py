"""The deterministic simulation of the ledger: production code under a seeded scheduler, disk, network and clock.

One seed decides everything: who runs next, what the disk and the network do, when the clock jumps, who is killed and at
which await, and what holders ask for. `python -m tests.ledger_simulation --seeds 10000` runs seeds until one fails and
prints it; `--seed N --trace` runs that one alone and tells what happened.

`loop` is the scheduler, `disk` and `network` the world outside the processes, `incarnation` one process of the ledger,
`cluster` all of them and their crashes, `restoring` a restore from a backup, `holders`, `edits` and `workload` those
who ask, `model` the oracle's own ledger, `books` what holders know to be true, `settled` what must be so in the end,
`run` puts one seed together, `many` runs them on all cores. `planted` breaks production code in the ways that ledgers
are known to break: each is found.
"""

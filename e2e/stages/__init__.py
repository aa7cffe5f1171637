"""`make test`, stage by stage: each stage is a command with a time limit, and belongs to a lane.

A lane runs its stages one after another, the lanes run side by side; the first failure ends the run. A stage that needs
a cluster gets a fresh one, shared by the stages that need the same one, and taken down whatever happens.

`python -m e2e.stages` runs all of them, `python -m e2e.stages NAME…` only those. Each stage's output is kept whole in
`build/reports/<stage>.log` and shown when the stage ends.

`catalogue` says which stages there are, `plan` purely what may run next, `runner` runs them, `report` counts tests.
"""

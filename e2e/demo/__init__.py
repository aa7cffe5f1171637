"""Ambit's main job on a real cluster, from nothing: `python -m e2e.demo up | down`.

`up` brings up a cluster, builds and loads the images, installs the chart, applies `examples/quickstart/` to a namespace
of its own, runs both Agents side by side until their team's Budget is exhausted, and checks what then has to be so.

`sessions` reads what `ambit run` prints, `standings` what `kubectl get` says; `checks` judges both and `report` shows
them, purely. `steps` does what has to be done, `tools` runs what goes on beside it; images and chart come by
`e2e.install`. `overlay` is the quickstart with the built tags, `real_providers` what a key in the environment adds.
"""

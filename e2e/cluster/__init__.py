"""A Kubernetes cluster for development and tests, with one interface over three providers.

`python -m e2e.cluster up | down | status | load IMAGE… | kubeconfig | tool NAME`; see docs/cluster.md.
"""

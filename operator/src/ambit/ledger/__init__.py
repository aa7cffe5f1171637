"""The ledger: the account tree, its limits, and every hold on it, journalled before it is answered.

`accounts`, `windows`, `tree`, `invariant` are the pure core; `journal` keeps its changes on disk; `service` answers
`wire` over HTTP; `client` is what the other processes use.
"""

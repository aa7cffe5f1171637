"""The gateway: the one door through which sandboxes and isolates reach anything outside.

`server` speaks HTTP and knows nothing of models; `models` knows the providers' wire formats and does no I/O;
`identity` says which session is calling; `routes` watches what the apiserver says; `admission` holds before the act and
settles after it. `sessions` is the people's side.
"""

"""A call's attempts: which backend of its route is next, who is out and for how long, and how many may be under way.

`circuit`, `choice` and `failures` are pure; `backends` keeps what this process knows of each backend; `attempts` puts
them together for one call. Sending, holding and settling are the caller's.
"""

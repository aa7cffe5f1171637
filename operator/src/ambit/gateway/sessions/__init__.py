"""Sessions for people and services: the listener on 8443, and what it starts, watches and ends.

It is not the data path: it opens a session's account, starts its environment, carries its output to the caller, and
sees to it that nothing runs on when the caller has gone.
"""

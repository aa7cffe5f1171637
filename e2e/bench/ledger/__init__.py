"""`make bench-ledger`: how fast bounds hold, beside the two usual ways of counting.

`load` is one client process; `systems` has what it asks, each the same two questions: may this call go ahead, and what
did it use. `bench` starts the servers, pins them alike, and prints.
"""

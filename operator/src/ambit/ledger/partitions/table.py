"""The table of writers, as ledgers give it to their clients."""

import msgspec


class Table(msgspec.Struct, frozen=True):
    """Who writes each partition by the present choice, and which ledgers there are. A hint: none admits anything."""

    writers: tuple[str | None, ...]
    """By partition; None: nobody is alive to."""
    members: tuple[str, ...]
    """Every ledger that writes or follows: each tells the events of what it writes."""


class Keys(msgspec.Struct, frozen=True):
    """What has to be found: accounts by their paths, and holds by their ids."""

    paths: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()


class Routes(msgspec.Struct, frozen=True):
    """Where what was asked for is, in the order of `Keys`; None: nowhere."""

    paths: tuple[int | None, ...] = ()
    holds: tuple[int | None, ...] = ()


PARTITION_HEADER = "x-ambit-ledger-partition"
"""Of a request: which partition its operations are for. A ledger of several partitions takes none without it."""
COVERS = b": covers "
"""Begins the comment in a stream of events that says for which partitions this ledger speaks now, as `1,5,7`."""
EVENTS_OF_ONE = "ofThisLedger"
"""In the query of `GET /v1/events`: the listener knows that others have events of theirs."""

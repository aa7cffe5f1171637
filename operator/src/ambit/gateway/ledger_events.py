"""The ledger's events, for whoever in this process acts on them."""

import logging
from collections.abc import Callable
from typing import NoReturn

from ambit.ledger.client import LedgerClient
from ambit.ledger.wire import AnyEvent

_log = logging.getLogger(__name__)
Listener = Callable[[AnyEvent], None]


class LedgerEvents:
    """Hands each event to every listener, in the order they were added."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """`listener` is called on the event loop, and must not block."""
        self._listeners.append(listener)

    async def run(self) -> NoReturn:
        """Until cancelled; the client reconnects by itself."""
        while True:
            async for event in self._ledger.events():
                for listener in self._listeners:
                    listener(event)
            _log.warning("the ledger's events ended; following them anew")

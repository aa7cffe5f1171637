"""The ledger's events, for whoever in this process acts on them."""

import logging
from collections.abc import Callable
from typing import NoReturn

from ambit.ledger.client import LedgerClient
from ambit.ledger.wire import AnyEvent

_log = logging.getLogger(__name__)
Listener = Callable[[AnyEvent], None]


class LedgerEvents:
    """Hands each event to every listener, in the order they were added.

    `heard` is called at each word of the ledger, at least every `silence_ms`, once listeners know what came before it.
    """

    def __init__(
        self, ledger: LedgerClient, *, silence_ms: int | None = None, heard: Callable[[], None] = lambda: None
    ) -> None:
        self._ledger = ledger
        self._silence_ms = silence_ms
        self._heard = heard
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """`listener` is called on the event loop, and must not block."""
        self._listeners.append(listener)

    async def run(self) -> NoReturn:
        """Until cancelled; the client reconnects by itself."""
        while True:
            async for event in self._ledger.events(silence_ms=self._silence_ms, heard=self._heard):
                for listener in self._listeners:
                    listener(event)
            _log.warning("the ledger's events ended; following them anew")

"""The calls under way, by session, so that they can be cut when their session ends."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ambit.gateway.relay import CutCause, Relay
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable

ASK_AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)


class LiveCalls:
    """Cuts calls at the ledger's word."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._relays: dict[str, set[Relay]] = {}
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def entered(self, session: str, relay: Relay) -> Generator[None]:
        """The call is under way while the block runs."""
        self._relays.setdefault(session, set()).add(relay)
        try:
            yield
        finally:
            relays = self._relays[session]
            relays.discard(relay)
            if not relays:
                del self._relays[session]

    def on_event(self, event: wire.AnyEvent) -> None:
        """A session that has ended has no call under way; where events were missed, the ledger is asked."""
        match event:
            case wire.SessionKilled() | wire.SessionEnded():
                self._cut(event.path)
            case wire.Resynchronised():
                if self._checking is None or self._checking.done():
                    self._checking = asyncio.get_running_loop().create_task(self._check_all())
            case wire.LimitsChanged():
                pass

    def cut_all(self) -> None:
        """The process stops."""
        for relays in tuple(self._relays.values()):
            for relay in tuple(relays):
                relay.cut(CutCause.STOPPING)

    def _cut(self, session: str) -> None:
        for relay in tuple(self._relays.get(session, ())):
            relay.cut(CutCause.SESSION_ENDED)

    async def _check_all(self) -> None:
        for session in tuple(self._relays):
            while session in self._relays:
                try:
                    usage = await self._ledger.usage(wire.GetUsage(path=session))
                except AccountUnknown:
                    self._cut(session)
                except LedgerUnavailable:
                    # The holds' own expiry cuts these calls if the ledger stays away.
                    await asyncio.sleep(ASK_AGAIN_S)
                    continue
                else:
                    if usage.state is not wire.State.OPEN:
                        self._cut(session)
                break

"""The calls under way, by session, so that they can be cut when their session ends."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from ambit.gateway.relay import CutCause, Relay
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable

ASK_AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)


class LiveCall:
    """One call, from before its hold is asked for. A cut that comes before there is anything to cut is remembered."""

    def __init__(self) -> None:
        self._cause: CutCause | None = None
        self._relay: Relay | None = None

    def relayed_by(self, relay: Relay) -> None:
        """The call is admitted. It is cut at once if its session ended meanwhile: events and answers come over two
        connections, so that a kill may be heard of before the grant it follows.
        """
        self._relay = relay
        if self._cause is not None:
            relay.cut(self._cause)

    def cut(self, cause: CutCause) -> None:
        """Stops the call now, or as soon as it is admitted."""
        self._cause = self._cause or cause
        if self._relay is not None:
            self._relay.cut(cause)


class LiveCalls:
    """Cuts calls at the ledger's word. `session_ended` is told which session's calls, for those that still wait."""

    def __init__(self, ledger: LedgerClient, session_ended: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._session_ended = session_ended
        self._calls: dict[str, set[LiveCall]] = {}
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def entered(self, session: str) -> Generator[LiveCall]:
        """The call is under way while the block runs. Enter before asking for its hold: no event about a hold that was
        granted can then be missed.
        """
        call = LiveCall()
        self._calls.setdefault(session, set()).add(call)
        try:
            yield call
        finally:
            calls = self._calls[session]
            calls.discard(call)
            if not calls:
                del self._calls[session]

    def on_event(self, event: wire.AnyEvent) -> None:
        """A session that has ended has no call under way; where events were missed, the ledger is asked."""
        match event:
            case wire.SessionKilled() | wire.SessionEnded():
                self._cut(event.path)
            case wire.Resynchronised():
                if self._checking is not None:
                    self._checking.cancel()  # what it has checked may have ended since
                self._checking = asyncio.get_running_loop().create_task(self._check_all())
            case _:
                pass

    def cut_all(self) -> None:
        """The process stops."""
        for calls in tuple(self._calls.values()):
            for call in tuple(calls):
                call.cut(CutCause.STOPPING)

    def _cut(self, session: str) -> None:
        for call in tuple(self._calls.get(session, ())):
            call.cut(CutCause.SESSION_ENDED)
        self._session_ended(session)

    async def _check_all(self) -> None:
        for session in tuple(self._calls):
            while session in self._calls:
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

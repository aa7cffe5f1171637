"""Sessions as the ledger knows them, kept as long as its events say nothing else.

The session's account is the only registry of sessions. What is kept here can be old for a moment; that a session has
ended is the ledger's to say at each hold, so an old entry admits nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ambit.api.base import ObjectKey
from ambit.api.names import AGENT_ATTRIBUTE, HOST_POD_ATTRIBUTE, AccountName
from ambit.gateway import refusals
from ambit.ledger import wire
from ambit.ledger.client import AccountUnknown, LedgerClient, LedgerUnavailable

WAIT_FOR_ACCOUNT_S: Final = 5.0
ASK_AGAIN_S: Final = 0.1
MAX_ENTRIES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Session:
    """An open session."""

    path: str
    parent: str
    agent: ObjectKey | None
    """None for a Sandbox of its own."""
    host_pod: str | None
    """The UID of the isolate host that the gateway placed it on; None for containers."""

    @property
    def namespace(self) -> str:
        return AccountName.parse(self.path).namespace

    @property
    def id(self) -> str:
        return AccountName.parse(self.path).name


class SessionDirectory:
    """Looks sessions up at the ledger, once for each."""

    def __init__(self, ledger: LedgerClient, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: dict[str, Session] = {}

    async def find(self, path: str) -> Session:
        """Raises RefusedCall: it has ended (402), has not arrived after 5 s, or the ledger is away (503)."""
        if (session := self._known.get(path)) is not None:
            return session
        deadline = self._clock() + WAIT_FOR_ACCOUNT_S
        while True:
            try:
                usage = await self._ledger.usage(wire.GetUsage(path=path))
                break
            except AccountUnknown as error:
                if self._clock() >= deadline:
                    raise refusals.not_yet_known(f"the session {path}") from error
            except LedgerUnavailable as error:
                raise refusals.ledger_away() from error
            await asyncio.sleep(ASK_AGAIN_S)
        if usage.state is not wire.State.OPEN:
            raise refusals.session_ended(path, usage.closed_reason.value if usage.closed_reason else usage.state.value)
        session = session_of(usage)
        if len(self._known) >= MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        self._known[path] = session
        return session

    def on_event(self, event: wire.AnyEvent) -> None:
        """Forgets what the ledger says has changed."""
        match event:
            case wire.SessionKilled() | wire.SessionEnded():
                self._known.pop(event.path, None)
            case wire.Resynchronised():
                self._known.clear()
            case _:
                pass


def session_of(usage: wire.Usage) -> Session:
    """What the data path needs of a session's account."""
    agent = usage.attributes.get(AGENT_ATTRIBUTE)
    namespace, _, name = agent.partition("/") if agent else ("", "", "")
    return Session(
        path=usage.path,
        parent=usage.parent or "",
        agent=ObjectKey(namespace, name) if agent else None,
        host_pod=usage.attributes.get(HOST_POD_ATTRIBUTE),
    )

"""Lets go of records that are older than they are kept, now and then, in small bites between the commits."""

import asyncio
import logging
from collections.abc import Callable

from ambit.ledger.journal import JournalError, Store
from ambit.ledger.records import KEPT_MS

EVERY_S = 3600.0
BETWEEN_BITES_S = 0.05
log = logging.getLogger(__name__)


async def prune(store: Store, now_ms: Callable[[], int]) -> None:
    """Goes on for ever. Where the store fails, it is tried again later: it is the writer whom it fails."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            for kind, kept_ms in KEPT_MS.items():
                before_ms, more = now_ms() - kept_ms, True
                while more:
                    more = await store.prune(kind, before_ms)
                    await asyncio.sleep(BETWEEN_BITES_S)
        except JournalError as error:
            log.warning("records could not be pruned", extra={"fields": {"cause": str(error)}})

"""Whether PostgreSQL keeps what it has acknowledged: looked at by each writer before it writes."""

import logging

from ambit.ledger.journal import JournalError
from ambit.ledger.journal.postgres_connection import Asking
from ambit.telemetry import metrics

_SETTINGS = """
SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
  current_setting('synchronous_standby_names')
"""
_WAITS_FOR_STANDBY = ("on", "remote_write", "remote_apply")
log = logging.getLogger(__name__)


class NotDurable(JournalError):
    """PostgreSQL would acknowledge what a crash can take back."""


def check(connection: Asking) -> None:
    """Raises NotDurable, JournalError. Says so where an acknowledged commit is on one machine alone."""
    ((fsync, full_pages, commit, standbys),) = connection.ask(_SETTINGS)
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages), ("synchronous_commit", commit)):
        if value == "off":
            raise NotDurable(
                f"PostgreSQL has {name} = off and may lose what it acknowledged: run ALTER SYSTEM SET {name} = on and "
                "SELECT pg_reload_conf() (it may be set for the database or the user, too)"
            )
    waits = bool(str(standbys).strip()) and commit in _WAITS_FOR_STANDBY
    metrics.LEDGER_SYNCHRONOUS_STANDBY.set(waits)
    if not waits:
        log.warning(
            "PostgreSQL waits for no standby: a failover can lose what was acknowledged. Set synchronous_standby_names",
            extra={"fields": {"synchronousCommit": commit, "synchronousStandbyNames": standbys}},
        )

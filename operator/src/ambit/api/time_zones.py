"""Which time zones may be named: those of the IANA database that mean the same on every machine."""

from functools import lru_cache
from zoneinfo import available_timezones

_NO_PLACES = frozenset({"localtime", "posixrules", "Factory"})
"""What the database's folder has besides: the zone of whichever machine asks, and two that are nobody's."""


def is_time_zone(name: str) -> bool:
    """Whether `name` is an IANA time zone, for example `Europe/Berlin`."""
    return name in _time_zones()


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_PLACES

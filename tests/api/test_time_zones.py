"""Which time zones may be named."""

import pytest

from ambit.api.time_zones import is_time_zone


@pytest.mark.parametrize("name", ["Europe/Berlin", "Etc/UTC", "UTC", "America/Argentina/Buenos_Aires"])
def test_a_place_of_the_database_is_a_zone(name: str) -> None:
    assert is_time_zone(name)


@pytest.mark.parametrize("name", ["", "Mars/Base", "Europe", "../UTC", "right/Europe/Berlin", "posix/Europe/Berlin"])
def test_nothing_else_is(name: str) -> None:
    assert not is_time_zone(name)


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory"])
def test_what_means_something_else_on_every_machine_is_none(name: str) -> None:
    assert not is_time_zone(name)

"""The simulation finds what it is there to find: each planted bug within its first thousand seeds."""

from pathlib import Path

import pytest

from tests.ledger_simulation import planted

SEEDS = 1000


def test_there_are_at_least_two_dozen() -> None:
    assert len(planted.names()) >= 24


@pytest.mark.parametrize("name", planted.names())
def test_it_is_a_patch_to_what_the_code_says_today(name: str) -> None:
    assert planted.patched(name)


@pytest.mark.planted
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", planted.names())
def test_it_is_found(name: str, tmp_path: Path) -> None:
    found = planted.look_for(planted.plant(name, tmp_path / "src"), SEEDS)
    assert found.seed is not None, found.said
    assert found.seed < SEEDS

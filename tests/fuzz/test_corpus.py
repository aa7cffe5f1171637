"""Everything that a fuzzer has stored, run again: what was found once stays mended."""

from pathlib import Path

import pytest

from tests.fuzz.targets import MAX_INPUT, TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_has_to_be_true_is_true_of_every_stored_input(name: str) -> None:
    stored = sorted((CORPUS / name).iterdir())
    assert stored
    for one in stored:
        data = one.read_bytes()
        assert len(data) <= MAX_INPUT + 1, one.name
        try:
            TARGETS[name](data)
        except AssertionError as error:
            raise AssertionError(f"{one.name}: {error}") from error


def test_every_folder_of_inputs_has_its_target() -> None:
    assert {one.name for one in CORPUS.iterdir()} == set(TARGETS)

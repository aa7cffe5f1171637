"""What every test of the ledger cleans up."""

from collections.abc import Iterator

import pytest

from tests.ledger import server


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Ends the ledgers that a failed test left running."""
    yield
    while server.started:
        process = server.started.pop()
        if process.returncode is None:
            process.kill()

from collections.abc import Iterator

import pytest

from tests.api.apiserver import ApiServer, connected


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    with connected() as server:
        yield server

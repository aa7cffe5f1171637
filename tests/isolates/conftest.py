from collections.abc import AsyncGenerator

import pytest

from tests.isolates.host import Host, a_host


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with a_host() as running:
        yield running

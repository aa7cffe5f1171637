"""The data path runs on uvloop, and so do its tests; what takes time to start is shared by a module's tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from tests.gateway import harness


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[harness.Gateway]:
    async with harness.running(tmp_path_factory.mktemp("ledger")) as running:
        yield running

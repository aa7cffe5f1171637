from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.control.rig import Rig, a_namespace, a_rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Ledger and operator for a module's tests."""
    async with a_rig(tmp_path_factory.mktemp("control")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def rig(running: Rig) -> AsyncIterator[Rig]:
    """The same, in a namespace of the test's own; whatever the test did, operator and ledger run when it begins."""
    async with a_namespace(running):
        yield running

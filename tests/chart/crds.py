"""The chart's CRDs at a real apiserver."""

import asyncio
from pathlib import Path
from typing import Any, Final

import yaml

from ambit.api.names import GROUP
from ambit.kube import KubeClient
from ambit.kube.resources import CUSTOM_RESOURCE_DEFINITIONS

CRDS: Final = tuple(
    yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
)
ESTABLISHED_WITHIN_S: Final = 30


async def install_crds(kube: KubeClient) -> None:
    """Applies them, and waits until they are served."""
    for crd in CRDS:
        await kube.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, field_manager="ambit-tests")
    async with asyncio.timeout(ESTABLISHED_WITHIN_S):
        while True:
            found = await kube.list(CUSTOM_RESOURCE_DEFINITIONS)
            ours = [crd for crd in found if crd["spec"]["group"] == GROUP]
            if len(ours) >= len(CRDS) and all(_established(crd) for crd in ours):
                return
            await asyncio.sleep(0.1)


def _established(crd: dict[str, Any]) -> bool:
    conditions: list[dict[str, Any]] = crd.get("status", {}).get("conditions") or []  # a new one's are null
    return any(found["type"] == "Established" and found["status"] == "True" for found in conditions)

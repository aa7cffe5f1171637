"""What the cluster says: how Budgets stand, what runs; read from `kubectl get --output json`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ambit.api.budget import Budget, ResourceName
from ambit.api.quantities import parse_count, parse_duration_ms, parse_usd_nanos

_PARSE: Final[Mapping[ResourceName, Callable[[str], int]]] = {
    ResourceName.USD: parse_usd_nanos,
    ResourceName.TOKENS: parse_count,
    ResourceName.MODEL_CALLS: parse_count,
    ResourceName.RUNTIME: parse_duration_ms,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit of one Budget stands. Amounts in the resource's smallest unit: nano-dollars, tokens, calls, ms."""

    budget: str
    window: str
    resource: ResourceName
    limit: int
    spent: int
    held: int

    @property
    def holds(self) -> bool:
        """The promise of a Budget."""
        return self.spent + self.held <= self.limit


def read_standings(budgets: dict[str, Any]) -> tuple[Standing, ...]:
    """Every limit of every Budget in a list; a Budget without status yet has none. Raises InvalidObject."""
    return tuple(
        Standing(
            budget=budget.metadata.name,
            window=window.window.value,
            resource=usage.resource,
            limit=_PARSE[usage.resource](usage.limit),
            spent=_PARSE[usage.resource](usage.spent),
            held=_PARSE[usage.resource](usage.held),
        )
        for budget in map(Budget.from_dict, budgets["items"])
        for window in budget.status.limits
        for usage in window.usage
    )


def running_pods(pods: dict[str, Any]) -> tuple[str, ...]:
    """The Pods of a list that have not come to an end."""
    ended = {"Succeeded", "Failed"}
    return tuple(pod["metadata"]["name"] for pod in pods["items"] if pod.get("status", {}).get("phase") not in ended)

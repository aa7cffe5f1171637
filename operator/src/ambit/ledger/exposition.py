"""What the ledger's tree looks like to Prometheus, read when it is scraped."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ambit.ledger.amounts import Resource, Window
from ambit.ledger.tree import Tree
from ambit.ledger.views import usage
from ambit.telemetry import metrics

_SCALE = {Resource.USD: 1e9, Resource.PAYMENTS: 1e9, Resource.RUNTIME: 1e3, Resource.GPU_TIME: 1e3}


class TreeCollector(Collector):
    """Gauges of the trees that this ledger writes, in dollars and seconds; none while it writes none.

    `now` is each tree and the ledger's own time: looking at an account begins its windows.
    """

    def __init__(self, now: Callable[[], Sequence[tuple[Tree, int]]]) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        now = self._now()
        if not now:
            return
        states = [tree.state for tree, _ in now]
        yield GaugeMetricFamily(*metrics.LEDGER_OPEN_SESSIONS, value=sum(state.open_sessions for state in states))
        yield GaugeMetricFamily(*metrics.LEDGER_OPEN_HOLDS, value=sum(state.open_holds for state in states))
        labels = ["namespace", "budget", "window", "resource"]
        limit = GaugeMetricFamily(*metrics.BUDGET_LIMIT, labels=labels)
        spent = GaugeMetricFamily(*metrics.BUDGET_SPENT, labels=labels)
        held = GaugeMetricFamily(*metrics.BUDGET_HELD, labels=labels)
        for tree, now_ms in now:
            state = tree.state
            for account in state.budgets.values():
                if account.removed:
                    continue
                _, namespace, name = account.path.split("/")
                for view in usage(state, account, max(now_ms, state.now_ms)).limits:
                    place = [namespace, name, Window(view.window).value, Resource(view.resource).value]
                    scale = _SCALE.get(view.resource, 1.0)
                    limit.add_metric(place, view.limit / scale)
                    spent.add_metric(place, view.spent / scale)
                    held.add_metric(place, view.held / scale)
        yield from (limit, spent, held)

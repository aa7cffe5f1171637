"""The metrics of several processes as one exposition: each sample keeps its value and gets a label that says whose.

They are not added up: a sum would go down when a process is started anew, and would hide which one is stuck. Prometheus
adds up what it is asked to, and knows a counter's reset by its series.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merged(expositions: Mapping[str, str], label: str) -> bytes:
    """One exposition of several, by the value that `label` has for each. Raises ValueError where one is none."""
    families: dict[str, Metric] = {}
    for value, exposition in expositions.items():
        for family in text_string_to_metric_families(exposition):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.samples.append(sample._replace(labels={**sample.labels, label: value}))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)

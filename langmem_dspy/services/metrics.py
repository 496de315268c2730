"""What the server counts, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts of one server; nothing in them tells of tenants or contents."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter("langmem_requests", "Requests answered", (*labels, "status"), registry=self.registry)
        self._seconds = Histogram(
            "langmem_request_seconds", "Time until the last byte", labels, buckets=_SECONDS, registry=self.registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def watch_runs(self, under_way: Callable[[], int], ended: Mapping[tuple[str, str], int]) -> None:
        """Report these with every scrape."""
        self.registry.register(_Runs(under_way, ended))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Runs:
    def __init__(self, under_way: Callable[[], int], ended: Mapping[tuple[str, str], int]) -> None:
        self._under_way, self._ended = under_way, ended

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("langmem_runs_under_way", "Runs waiting or at work", value=self._under_way())
        ended = CounterMetricFamily("langmem_runs_ended", "Runs that ended", labels=("graph", "status"))
        for (graph, status), count in self._ended.items():
            ended.add_metric((graph, status), count)
        yield ended

"""Figures of a server for Prometheus, in a registry of its own: the host's default one is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms. more: text of the same format to append, for example a monitor's."""

    def __init__(self, waiting: Callable[[], int], more: Callable[[], str] | None = None) -> None:
        registry = self._registry = CollectorRegistry()
        self._more = more
        ProcessCollector(registry=registry)
        self.requests = Counter("edge_server_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "edge_server_request_seconds",
            "From a request's headers to its answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._examples = Counter("edge_server_examples", "Examples the model answered", ["version"], registry=registry)
        self._engine = Histogram(
            "edge_server_batch_seconds", "Model call of a batch", buckets=_SECONDS, registry=registry
        )
        self._sizes = Histogram("edge_server_batch_examples", "Examples in a batch", buckets=_SIZES, registry=registry)
        self._version = Gauge("edge_server_version", "1 for the version that runs", ["version"], registry=registry)
        queue = Gauge("edge_server_queue_examples", "Examples not answered yet", registry=registry)
        queue.set_function(waiting)
        self._shown = ""

    def batch(self, examples: int, seconds: float, version: str) -> None:
        """Note a batch."""
        self._examples.labels(version).inc(examples)
        self._engine.observe(seconds)
        self._sizes.observe(examples)

    def text(self, version: str) -> bytes:
        """Everything, in Prometheus's text format."""
        if version != self._shown:
            self._version.clear()
            self._version.labels(version).set(1)
            self._shown = version
        text: bytes = generate_latest(self._registry)
        return text + (self._more().encode() if self._more is not None else b"")

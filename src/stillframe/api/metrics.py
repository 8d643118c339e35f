"""What /metrics tells: requests by route, captures by status, the image directory. No ids, no names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import falcon
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stillframe.errors.base import StillframeError
from stillframe.errors.service import StoreUnusable
from stillframe.images.directory import DirectoryStore
from stillframe.model import CaptureStatus


class CaptureCounts(Collector):
    """Counted when somebody asks."""

    def __init__(self, counts: Callable[[], Mapping[CaptureStatus, int]]) -> None:
        self._counts = counts

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Without asking the database."""
        yield _gauge()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a status."""
        gauge = _gauge()
        for status, count in self._counts().items():
            gauge.add_metric([status.value], count)
        yield gauge


class StoreCounts(Collector):
    """The image directory, looked at when somebody asks."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Without looking."""
        yield from _store_gauges()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Nothing while the directory cannot be used: /healthcheck says why."""
        try:
            free, halves = self._store.free(), sum(1 for _ in self._store.halves())
        except StoreUnusable:
            return
        for gauge, value in zip(_store_gauges(), (free, halves), strict=True):
            gauge.add_metric([], value)
            yield gauge


class StrayCount(Collector):
    """What `stillframe agent doctor` would find, looked for when somebody asks."""

    def __init__(self, strays: Callable[[], int]) -> None:
        self._strays = strays

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Without looking."""
        yield _stray_gauge()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Nothing while it cannot be told: /healthcheck says why."""
        try:
            count = self._strays()
        except StillframeError:
            return
        gauge = _stray_gauge()
        gauge.add_metric([], count)
        yield gauge


class Metering:
    """Counts requests and their seconds, by the route's template: never by a path, which holds ids."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route")
        self._requests = Counter(
            "stillframe_api_requests", "Requests answered.", (*labels, "status"), registry=registry
        )
        self._seconds = Histogram(
            "stillframe_api_request_seconds", "Seconds until the answer began.", labels, registry=registry
        )

    def process_request(self, request: falcon.Request, _response: falcon.Response) -> None:
        """Starts the clock."""
        request.context.started = time.monotonic()

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        _resource: object,
        _succeeded: bool,
    ) -> None:
        """Counts."""
        route = request.uri_template or "none"
        method = request.method if request.method in falcon.HTTP_METHODS else "other"
        self._requests.labels(method, route, str(response.status_code)).inc()
        self._seconds.labels(method, route).observe(time.monotonic() - request.context.started)


def _gauge() -> GaugeMetricFamily:
    return GaugeMetricFamily("stillframe_captures", "Captures on record, by status.", labels=["status"])


def _stray_gauge() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "stillframe_strays", "Things on this host that no capture owns, and captures that were given up."
    )


def _store_gauges() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("stillframe_images_free_bytes", "Room that is left in the image directory."),
        GaugeMetricFamily("stillframe_images_halves", "Files in the image directory that are no published image."),
    )

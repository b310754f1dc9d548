"""Lanes in the metrics of an application: its own OpenTelemetry, and `mesh.lanes()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from meltemi.proxyless import lane_metrics
from opentelemetry.metrics import CallbackOptions
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Point = tuple[str, tuple[tuple[str, Any], ...], int]


class Counted:
    """A mesh, as far as metrics know one."""

    def __init__(self, **answered_by: int) -> None:
        self.answered_by = answered_by

    def lanes(self) -> list[dict[str, Any]]:
        one = {"lane": "dev", "service": "reviews", "leaks": 1}
        return [{**one, "answered_by": self.answered_by}]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Point]]:
    """What an SDK would export, of nothing but the meshes of this test."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.metrics.get_meter", provider.get_meter)
    lane_metrics._instruments.cache_clear()
    lane_metrics._followed.clear()

    def points() -> list[Point]:
        data = reader.get_metrics_data()
        found: list[Point] = []
        for of_resource in data.resource_metrics if data else ():
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    for point in metric.data.data_points:
                        labels = tuple(sorted((point.attributes or {}).items()))
                        found.append((metric.name, labels, int(getattr(point, "value", -1))))
        return sorted(found)

    return points


def test_meshes_of_a_process_are_counted_together(read: Callable[[], list[Point]]) -> None:
    first, second = Counted(lane=2, none=1), Counted(lane=3)
    lane_metrics.follow(first)
    lane_metrics.follow(second)
    who = ("service", "reviews")
    assert read() == [
        ("meltemi.lane.leaks", (("lane", "dev"), who), 2),
        ("meltemi.lane.requests", (("answered_by", "lane"), ("lane", "dev"), who), 5),
        ("meltemi.lane.requests", (("answered_by", "none"), ("lane", "dev"), who), 1),
    ]


def test_a_mesh_that_is_gone_is_not_kept(read: Callable[[], list[Point]]) -> None:
    first = Counted(lane=2)
    lane_metrics.follow(first)
    assert len(read()) == 2
    del first
    assert list(lane_metrics._requests(CallbackOptions())) == []

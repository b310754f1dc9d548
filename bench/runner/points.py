"""The targets and the points of load that rows share."""

from __future__ import annotations

import dataclasses
from typing import Final

from runner.rows import Point, Target

POOL: Final = Target("meltemi pool")
MULTIPLEXED: Final = Target("meltemi multiplexed")
DUBBO: Final = Target("meltemi dubbo")
ENVOY_THRIFT: Final = (Target("envoy thrift"), Target("envoy thrift passthrough"))
"""Both configurations of thrift_proxy; the better one at a point counts."""
ENVOY_TCP: Final = (Target("envoy tcp"),)
ENVOY_DUBBO: Final = (Target("envoy dubbo"),)
ENVOY_BOUND: Final = (Target("envoy generic bound"),)

MANY_ROUTES: Final = 10_000

ONE_CORE_64: Final = Point("one core", 64)
ONE_CORE_256: Final = Point("one core", 256)
DEEP: Final = Point("two cores", 16, 16)
ROUTES_POINT: Final = Point("two cores", 16, fine=True)
STORM: Final = Point("two cores", 5000, most_rounds=3)
SPREAD: Final = tuple(
    Point("two cores", connections, payload_bytes=payload, most_rounds=3)
    for connections in (16, 64, 256)
    for payload in (32, 1024)
)
SETTINGS_POINT: Final = Point("two cores", 32, fine=True)
"""Not one of SPREAD: what is compared to a few percent should be sampled close together."""
FRAMED: Final = tuple(Point("two cores", 32, payload_bytes=n, fine=True) for n in (32, 1024))
UNFRAMED: Final = tuple(dataclasses.replace(p, format="unframed-binary") for p in FRAMED)
VETH_64: Final = Point("two namespaces", 64)
WORKERS_POINT: Final = Point("all cores", 64)

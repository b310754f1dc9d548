"""What is measured: points of load, targets under it, and the goals that compare them.

Another goal is another `Row`; another way to run a proxy is another entry in `targets.KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Layout = Literal["one core", "two cores"]
"""One core: load, backend and proxy share it: what counts is the cost of all. Two cores: the proxy
has one of its own."""


@dataclass(frozen=True, slots=True)
class Point:
    """A load that every target of a row gets."""

    layout: Layout
    connections: int
    in_flight: int = 1
    payload_bytes: int = 32
    format: str = "framed-binary"

    def __str__(self) -> str:
        load = f"{self.connections} x {self.in_flight}, {self.payload_bytes} B"
        shown = "" if self.format == "framed-binary" else f", {self.format}"
        return f"{self.layout}, {load}{shown}"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that requests go through, or `direct`."""

    kind: str
    """A name in `targets.KINDS`."""
    routes: int = 0
    """Routes before the one that matches."""

    def __str__(self) -> str:
        return f"{self.kind} with {self.routes} routes" if self.routes else self.kind


DIRECT: Final = Target("direct")
POOL: Final = Target("meltemi pool")
MULTIPLEXED: Final = Target("meltemi multiplexed")
ENVOY_THRIFT: Final = (Target("envoy thrift"), Target("envoy thrift passthrough"))
"""Both configurations of thrift_proxy; the better one at a point counts."""

Metric = Literal["rps", "cpu_us", "p50_us", "p99_us", "resident_kib"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio of ours to the peer's has to be."""

    relation: Literal["at least", "at most"]
    bound: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.relation == "at least" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.relation == 'at least' else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One goal: a ratio of ours to the better of the peers; over several points, their geometric
    mean."""

    id: str
    what: str
    points: tuple[Point, ...]
    ours: Target
    peers: tuple[Target, ...]
    metric: Metric
    goal: Goal
    minus: Target | None = None
    """What both sides have in common and is taken off first: `direct`, for an added latency."""
    quick: bool = False
    """Part of the short run."""

    @property
    def needs_limit(self) -> bool:
        """Whether it compares with `targets.LIMIT`, which is not part of the project."""
        return any(target.kind.startswith("limit") for target in self.targets())

    def targets(self) -> tuple[Target, ...]:
        own = (self.ours, *self.peers)
        return (*own, self.minus) if self.minus and self.minus not in own else own

    def better(self) -> Callable[[list[float]], float]:
        """Picks the better of the peers' values."""
        return max if self.goal.relation == "at least" else min


ONE_CORE_64: Final = Point("one core", connections=64)
SPREAD: Final = tuple(
    Point("two cores", connections, payload_bytes=payload)
    for connections in (16, 64, 256)
    for payload in (32, 1024)
)

ROWS: Final = (
    Row(
        "S1",
        "shape: requests/s of our pool against thrift_proxy's, one core, 64 x 1, 32 B",
        (ONE_CORE_64,),
        POOL,
        ENVOY_THRIFT,
        "rps",
        Goal("at least", 1.0),
        quick=True,
    ),
    Row(
        "G1",
        "Thrift framed, one core, 64 x 1, 32 B, pool: requests/s against thrift_proxy",
        (ONE_CORE_64,),
        POOL,
        ENVOY_THRIFT,
        "rps",
        Goal("at least", 1.8),
        quick=True,
    ),
    Row(
        "G2",
        "the same, multiplexed: requests/s against thrift_proxy",
        (ONE_CORE_64,),
        MULTIPLEXED,
        ENVOY_THRIFT,
        "rps",
        Goal("at least", 3.3),
        quick=True,
    ),
    Row(
        "G2 direct",
        "the same, multiplexed: requests/s against a direct connection",
        (ONE_CORE_64,),
        MULTIPLEXED,
        (DIRECT,),
        "rps",
        Goal("at least", 0.85),
        quick=True,
    ),
    Row(
        "G1 limit",
        "as G1, against a proxy without features",
        (ONE_CORE_64,),
        POOL,
        (Target("limit pool"),),
        "rps",
        Goal("at least", 0.9),
        quick=True,
    ),
    Row(
        "G2 limit",
        "as G2, against a proxy without features",
        (ONE_CORE_64,),
        MULTIPLEXED,
        (Target("limit multiplexed"),),
        "rps",
        Goal("at least", 0.9),
        quick=True,
    ),
    Row(
        "G3 pool",
        "two cores, 16/64/256 x 1, 32 B and 1 KiB, pool: proxy CPU a request against thrift_proxy",
        SPREAD,
        POOL,
        ENVOY_THRIFT,
        "cpu_us",
        Goal("at most", 0.37),
    ),
    Row(
        "G3 multiplexed",
        "the same, multiplexed",
        SPREAD,
        MULTIPLEXED,
        ENVOY_THRIFT,
        "cpu_us",
        Goal("at most", 0.26),
    ),
    Row(
        "G5 cpu",
        "two cores, 16 x 16, 32 B, multiplexed: proxy CPU a request against thrift_proxy",
        (Point("two cores", 16, 16),),
        MULTIPLEXED,
        ENVOY_THRIFT,
        "cpu_us",
        Goal("at most", 0.06),
    ),
    Row(
        "G5 rps",
        "the same: requests/s",
        (Point("two cores", 16, 16),),
        MULTIPLEXED,
        ENVOY_THRIFT,
        "rps",
        Goal("at least", 16),
    ),
    Row(
        "G10",
        "one core, 1 x 1: median latency added to a direct connection's, against thrift_proxy's",
        (Point("one core", 1),),
        POOL,
        ENVOY_THRIFT,
        "p50_us",
        Goal("at most", 0.65),
        minus=DIRECT,
    ),
)

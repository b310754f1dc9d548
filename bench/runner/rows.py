"""Words of the table: points of load, targets under it, goals, and the rows that join them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Layout = Literal["one core", "two cores", "all cores", "two namespaces"]
"""Where load, backends and proxy run.

One core: all share it, so what counts is the cost of all. Two cores: the proxy has one of its own.
All cores: nothing is pinned where there are fewer than four; else a proxy has two of its own. Two
namespaces: one core, and every hop of a request crosses from one network namespace to another."""

Protocol = Literal["thrift", "dubbo"]


@dataclass(frozen=True, slots=True)
class Point:
    """A load that every target of a row gets."""

    layout: Layout
    connections: int
    in_flight: int = 1
    payload_bytes: int = 32
    protocol: Protocol = "thrift"
    format: str = ""
    """Of the protocol, as `meltemi-load --format` takes it; "": the most common one."""
    most_rounds: int = 99
    """More are not worth their time: samples are long, or rows take a mean over several points."""

    fine: bool = False
    """Compared to a few percent: twice the rounds, each half as long, so that what drifts while
    they are taken is the same for both sides."""

    @property
    def heavy(self) -> bool:
        """Whether a sample takes several seconds."""
        return self.connections >= 1000

    @property
    def warm_up_s(self) -> float:
        """Thousands of connections are not made in an instant."""
        return 0.3 + self.connections / 2500

    @property
    def measured_s(self) -> float:
        if self.fine:
            return 0.5
        return 2.0 if self.heavy else 1.0

    def __str__(self) -> str:
        load = f"{self.connections} x {self.in_flight}, {self.payload_bytes} B"
        words = [word for word in (self.protocol, self.format) if word not in ("", "thrift")]
        return ", ".join([self.layout, load, *words])


@dataclass(frozen=True, slots=True)
class Target:
    """Something that requests go through, or `direct`."""

    kind: str
    """A name in `targets.KINDS`."""
    routes: int = 0
    """Routes before the one that matches."""
    workers: int = 1
    setting: Literal["", "local limit", "no metrics", "access log"] = ""
    """What differs from the product's own settings."""

    @property
    def ours(self) -> bool:
        return self.kind.startswith("meltemi")

    def __str__(self) -> str:
        text = self.kind
        if self.routes:
            text += f" with {self.routes} routes"
        if self.workers > 1:
            text += f" with {self.workers} workers"
        return f"{text}, {self.setting}" if self.setting else text


DIRECT: Final = Target("direct")

Metric = Literal["rps", "cpu_us", "p50_us", "p99_us", "resident_kib", "errors"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio of ours to the peer's has to be; or, with a `unit`, our number by itself."""

    relation: Literal["at least", "at most"]
    bound: float
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether a ratio, or with a `unit` our number, reaches it."""
        return value >= self.bound if self.relation == "at least" else value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.relation == "at least" else "<="
        return f"{sign} {self.bound:g} {self.unit}".rstrip()


def at_least(bound: float) -> Goal:
    return Goal("at least", bound)


def at_most(bound: float, unit: str = "") -> Goal:
    return Goal("at most", bound, unit)


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio of ours to the better of the peers under load; over several points, their geometric
    mean. Without a goal it is only reported."""

    id: str
    what: str
    points: tuple[Point, ...]
    ours: Target
    peers: tuple[Target, ...]
    metric: Metric
    goal: Goal | None
    minus: Target | None = None
    """What both sides have in common and is taken off first: `direct`, for an added latency."""
    peer_points: tuple[Point, ...] | None = None
    """The peers' points, one for each of ours, where they are others."""
    quick: bool = False
    """Part of the short run."""

    @property
    def needs_limit(self) -> bool:
        """Whether it compares with a proxy without features, which is not part of the project."""
        return any(target.kind.startswith("limit") for target in self.targets())

    def targets(self) -> tuple[Target, ...]:
        own = (self.ours, *self.peers)
        return (*own, self.minus) if self.minus and self.minus not in own else own

    def pairs(self) -> tuple[tuple[Point, Point], ...]:
        """Our point and the peers', for each."""
        return tuple(zip(self.points, self.peer_points or self.points, strict=True))

    def cases(self) -> list[tuple[Point, Target]]:
        """Everything that has to be sampled for it."""
        found = []
        for own, theirs in self.pairs():
            found.append((own, self.ours))
            found += [(theirs, peer) for peer in self.peers]
            if self.minus:
                found.append((own, self.minus))
        return list(dict.fromkeys(found))

    def better(self) -> Callable[[list[float]], float]:
        """Picks the better of the peers' values: more requests, less of everything else."""
        return max if self.metric == "rps" else min


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """A pair of numbers that something else than a load on a target finds out."""

    id: str
    what: str
    measurement: str
    """A name in `measurements.MEASUREMENTS`."""
    key: str
    """Which of its numbers."""
    unit: str
    """Of both numbers."""
    goal: Goal | None
    quick: bool = False


AnyRow = Row | MeasuredRow

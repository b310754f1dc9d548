"""Services and the requests between them, counted over the ways of many traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from meltemi.traces.hops import Hop

OUTSIDE = ""
"""The source of requests that no service of the mesh sent."""
UNKNOWN = ""
"""The lane of a request of which nobody says one."""


@dataclass(slots=True)
class Node:
    """A service, with the requests that it received."""

    service: str
    requests: int = 0
    errors: int = 0
    versions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Edge:
    """The requests that `source` sent to `target`."""

    source: str
    target: str
    requests: int = 0
    errors: int = 0
    lanes: Counter[str] = field(default_factory=Counter)
    duration: int = 0
    """Of all of them together, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph(ways: Iterable[tuple[Hop, ...]]) -> Graph:
    """One node a service, one edge a pair of services; in the order of their names."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], Edge] = {}
    for hops in ways:
        services = {hop.id: hop.service for hop in hops}
        for hop in hops:
            source = services.get(hop.parent, OUTSIDE)
            node = nodes.setdefault(hop.service, Node(hop.service))
            edge = edges.setdefault((source, hop.service), Edge(source, hop.service))
            for counted in (node, edge):
                counted.requests += 1
                counted.errors += hop.error is not None
            node.versions[hop.version] += 1
            edge.lanes[hop.lane or UNKNOWN] += 1
            edge.duration += hop.duration
    return Graph(
        tuple(nodes[name] for name in sorted(nodes)),
        tuple(edges[pair] for pair in sorted(edges)),
    )

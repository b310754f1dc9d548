"""Where requests from outside come in: a Gateway, for the HTTP proxies at the edge."""

from __future__ import annotations

from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """A port that a gateway opens, and for which hosts."""

    number: int
    hosts: tuple[tuple[str, str], ...]
    """The namespace of the VirtualServices that it takes (`*`: any), and a host or a wildcard."""
    https_redirect: bool = False
    """Requests in plain text are answered with a redirect to https."""
    refused: str = ""
    """Why its port is not opened, or ""."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Holds for the gateway workloads whose labels `selector` takes, in any namespace."""

    namespace: str
    name: str
    selector: Labels
    servers: tuple[GatewayServer, ...]

    @property
    def full_name(self) -> str:
        """`NAMESPACE/NAME`, which VirtualServices say."""
        return f"{self.namespace}/{self.name}"

    def selects(self, labels: Labels) -> bool:
        """Whether it holds for a gateway with these labels; an empty selector takes all."""
        return set(labels).issuperset(self.selector)


def narrower(one: str, other: str) -> str | None:
    """The hosts that are of both, each a name, a wildcard `*.x` or `*`; None where there are none.

    Istio's intersection (`host.Name`): of two that go together the narrower one."""
    if one == other:
        return one
    if one.startswith("*") and other.endswith(one[1:]):
        return other
    if other.startswith("*") and one.endswith(other[1:]):
        return one
    return None

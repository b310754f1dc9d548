"""Marks of lanes at servers without a sidecar: taken only of callers whose marks count.

    app = http_server.asgi(app, mesh=mesh)

The control plane says who that is (`marksFrom` of a LaneGroup), live; where no group limits it, all
marks are taken. A caller is known by the address of its connection. As long as nothing is known of
the rules, all baggage is taken away: any of it may be a mark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from meltemi.lanes.carriers import carries, folded, without

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

WAIT_S: Final = 5.0
"""For the rules of the control plane, when a server is wrapped."""

NOTHING: Final[frozenset[str]] = frozenset()
EVERYTHING: Final = None
"""In the place of keys: all baggage."""

Keys = frozenset[str] | None

log = logging.getLogger("meltemi.proxyless")


class Guard:
    """The rules of a mesh. For any thread."""

    def __init__(self, mesh: Mesh, wait_s: float = WAIT_S) -> None:
        """Waits for the rules once, at most `wait_s`."""
        self._mesh = mesh
        if not mesh.wait_for_colouring(wait_s):
            log.warning(
                "no rules of lanes came within %g s: until they do, requests lose all baggage",
                wait_s,
            )

    def denied(self, address: str) -> Keys:
        """The keys of marks that a caller may not set, by the IP address that it calls from; ""
        where that is not known. EVERYTHING as long as the rules are not."""
        callers = self._mesh.callers()
        return EVERYTHING if callers is None else callers.denied(address)


def left(name: str, value: str, keys: Keys) -> str | None:
    """What is left of a header without marks of these keys: the same object, or None for nothing.
    Names in any case, also as CGI and Kitex write them."""
    carried = carries(name)
    if carried is None:
        return value
    if keys is EVERYTHING:
        return None
    if carried == "":
        return without(value, keys)
    return None if carried in {folded(key) for key in keys} else value


def unmarked(
    headers: Iterable[tuple[str, str | bytes]], keys: Keys
) -> list[tuple[str, str | bytes]]:
    """Headers without marks of these keys; what is no mark is the same object."""
    kept: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        now = left(name, text, keys)
        if now is not None:
            kept.append((name, value if now == text else now))
    return kept


def peer_address(peer: str) -> str:
    """The IP address in what gRPC calls a peer: `ipv4:127.0.0.1:5000`, `ipv6:[::1]:5000`; "" for
    others."""
    kind, _, place = peer.partition(":")
    if kind == "ipv4":
        return place.rpartition(":")[0]
    if kind == "ipv6":
        host = place.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0]
        return host.strip("[]").partition("%")[0]
    return ""

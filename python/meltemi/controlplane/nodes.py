"""What the connected nodes have: for `meltemi status`, and for `apply`, which waits for them."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meltemi.controlplane.access import Access
from meltemi.xds.server import NodeStatus
from meltemi.xds.server_state import TypeStatus

PUSH_S = 2.0  # a node that has not acknowledged a change by then is named, and not waited for
FIRST_REQUESTS_S = 0.2
RECONNECT_S = 8.0  # after the start: longer than the pauses between a client's attempts (5 s)
POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Push:
    """How a change reached the nodes: who refused something, who has not answered yet."""

    nodes: int
    refused: tuple[dict[str, str], ...]
    late: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"connected": self.nodes, "refused": list(self.refused), "late": list(self.late)}


class Pusher:
    """Waits for the nodes after a change."""

    def __init__(
        self, nodes: Callable[[], list[NodeStatus]], expected: Callable[[], frozenset[str]]
    ) -> None:
        """`expected`: ids of nodes that run, whether they are connected or not."""
        self._nodes, self._expected = nodes, expected
        self._started = time.monotonic()

    async def pushed(self) -> Push:
        """Waits until every node answered what it was sent, at most PUSH_S.

        After a restart it also waits for those that are about to come back. A change goes out in
        steps (clusters before the routes that use them), so that a node that is even at one moment
        may be sent more: it counts when it stayed even for two looks."""
        deadline = time.monotonic() + PUSH_S
        expected = self._expected()
        quiet = 0
        while True:
            found = self._nodes()
            late = {each.node.id for each in found if not _is_even(each)}
            missing = expected - {each.node.id for each in found}
            now = time.monotonic()
            waits = bool(late) and now < deadline
            waits |= bool(missing) and now < self._started + RECONNECT_S
            quiet = 0 if waits else quiet + 1
            if quiet >= 2 or not (found or waits):
                return Push(len(found), tuple(_refusals(found)), tuple(sorted(late | missing)))
            await asyncio.sleep(POLL_S)


def _is_proxy(process: Mapping[str, Any]) -> bool:
    return str(process["name"]).endswith(" sidecar") or process.get("mode") == "gateway"


def running_proxies(processes: Path) -> frozenset[str]:
    """Ids of the nodes that `meltemi up` runs now, from its process table."""
    try:
        table = json.loads(processes.read_text())["processes"]
        return frozenset(
            str(each["node"])
            for each in table
            if each.get("pid") and "node" in each and _is_proxy(each)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()


def _is_even(node: NodeStatus) -> bool:
    """Whether the last response of each type was accepted or refused, and the node has asked for
    everything: a stream's first requests come one after another."""
    if time.time() - node.connected_since < FIRST_REQUESTS_S:
        return False
    return all(
        status.sent == status.acknowledged or status.refusals for status in node.types.values()
    )


def _refusals(nodes: Iterable[NodeStatus]) -> Iterable[dict[str, str]]:
    for node in nodes:
        for type_url, status in node.types.items():
            for refusal in status.refusals:
                what = f"{short(type_url)} {refusal.name}".rstrip()
                yield {"id": node.node.id, "what": what, "reason": refusal.reason}


def as_json(nodes: Iterable[NodeStatus], access: Access) -> list[dict[str, Any]]:
    """The nodes as `GET /v1/status` shows them."""
    return [
        {
            "id": found.node.id,
            "client": found.node.client.value,
            "user_agent": found.node.user_agent,
            "peer": found.peer,
            "workload": access.is_workload(found.node),
            "connected_at": time_of(found.connected_since),
            "streams": found.streams,
            "types": {short(url): _type(status) for url, status in found.types.items()},
        }
        for found in nodes
    ]


def _type(status: TypeStatus) -> dict[str, Any]:
    return {
        "sent": status.sent,
        "acknowledged": status.acknowledged,
        "resources": status.resources,
        "refused": [
            {"name": refusal.name, "version": refusal.version, "reason": refusal.reason}
            for refusal in status.refusals
        ],
    }


def short(type_url: str) -> str:
    """`type.googleapis.com/envoy.config.cluster.v3.Cluster` -> `Cluster`."""
    return type_url.rpartition(".")[2]


def time_of(seconds: float) -> str:
    """RFC 3339 in UTC."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""What both shells of the client share: how long to wait, who we are, and how it is going."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meltemi.xds import messages
from meltemi.xds.client_values import TypeStatus
from meltemi.xds.resource import RESOURCE_IN_SOTW, Node, Resource

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_FACTOR: Final = 1.6
BACKOFF_MAX_S: Final = 5.0
"""A control plane that comes back is found within this; 200 nodes ask it 40 times a second."""
CONNECT_S: Final = 10.0
KEEPALIVE_S: Final = 30.0
"""How often an idle connection is tested; above what the server allows (`server.CLIENT_PING_S`)."""

OnUpdate = Callable[
    [str, str, Sequence[tuple[str, bytes]], Sequence[str]], Sequence[tuple[str, str]]
]
"""(type URL, version, resources as (name, body), names removed) -> what was refused, as (name,
reason). Runs in a thread, one call at a time; Engine.update has this shape."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A resource in use, as `/config_dump` shows it."""

    resource: Resource
    last_updated: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """How it is with the stream and with each type."""

    server: str
    delta: bool
    connected: bool
    since: float | None
    """When it was connected, or lost, in seconds since the epoch; None before the first time."""
    last_error: str | None
    """Why the last stream ended; None while one is up."""
    types: Mapping[str, TypeStatus]


def backoff_s(attempt: int, rng: random.Random) -> float:
    """How long to wait before attempt `attempt` (from 0): grows, and half of it is chance, so that
    nodes that lost a server together do not come back together."""
    longest = min(BACKOFF_FIRST_S * BACKOFF_FACTOR ** min(attempt, 32), BACKOFF_MAX_S)
    return longest * (0.5 + rng.random() / 2)


def node_message(node: Node) -> Any:
    """`envoy.config.core.v3.Node` of a node of ours."""
    made = messages.message("envoy.config.core.v3.Node")(id=node.id)
    made.user_agent_name, _, made.user_agent_version = node.user_agent.partition(" ")
    made.metadata.update(node.metadata)
    made.client_features.extend(sorted({*node.features, RESOURCE_IN_SOTW}))
    return made


def short(type_url: str) -> str:
    """The last word of a type URL: `Cluster`."""
    return type_url.rpartition(".")[2]

"""How a client without a sidecar is set up: values that are right once they exist.

`bootstrap` makes them of arguments and environment; `mesh` and `xds_thread` use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from meltemi import __version__
from meltemi.secret import Secret
from meltemi.xds.resource import Node

Mode = Literal["grpc", "sidecar"]

READY_TIMEOUT_S: Final = 5.0
"""How long the first call to a target waits for what it needs to know."""
LAST_KNOWN_MAX_AGE_S: Final = 24 * 3600.0
"""Endpoints of a day ago are as likely somebody else's as still there."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, or the file that holds it, which is read again for each connection."""

    value: Secret | None = None
    file: Path | None = None

    def read(self) -> Secret:
        """Raises OSError; ValueError for a file that holds no token."""
        if self.value is not None:
            return self.value
        assert self.file is not None
        text = self.file.read_text(encoding="ascii").strip()
        if not text or any(c.isspace() for c in text):
            raise ValueError(f"{self.file} holds no token")
        return Secret(text)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the control plane, which is always verified."""

    ca: Path | None = None
    """PEM; None: what the machine trusts."""
    server_name: str | None = None
    """The name that the certificate must have; None: the host that is connected to."""


@dataclass(frozen=True, slots=True)
class Options:
    """Who asks whom, and how. Equal options share a client."""

    address: str
    """`HOST:PORT` or `unix:PATH`."""
    node_id: str
    metadata_json: str = "{}"
    """Of the node, as canonical JSON."""
    namespace: str = "default"
    domain: str = "cluster.local"
    mode: Mode = "grpc"
    delta: bool = True
    token: Token | None = None
    tls: Tls | None = None
    cluster_id: str = ""
    """What Istio wants beside a token."""
    source_address: str | None = None
    """The address that calls come from; None: the system chooses."""
    ready_timeout_s: float = READY_TIMEOUT_S
    last_known: Path | None = field(default=None)
    """The file of the last good state; None: there is none."""
    last_known_max_age_s: float = LAST_KNOWN_MAX_AGE_S

    @property
    def metadata(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self.metadata_json)
        return found

    def node(self) -> Node:
        return Node.of(
            self.node_id,
            metadata=self.metadata,
            user_agent_name="meltemi",
            user_agent_version=__version__,
        )

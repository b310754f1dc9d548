"""gRPC's own bootstrap (gRFC A27), as far as it says who asks whom: for programs that have one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Complain = Callable[[str, str, str], None]
"""(where, what is wrong, what would be right)."""


@dataclass(frozen=True, slots=True)
class GrpcBootstrap:
    """The first server, how it is reached, and the node."""

    address: str
    tls: bool = False
    node_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, environment: Mapping[str, str], complain: Complain) -> GrpcBootstrap | None:
        """From GRPC_XDS_BOOTSTRAP (a file) or GRPC_XDS_BOOTSTRAP_CONFIG (the JSON itself)."""
        where, text = "GRPC_XDS_BOOTSTRAP", environment.get("GRPC_XDS_BOOTSTRAP", "")
        right = "it is gRPC's bootstrap JSON with xds_servers[0].server_uri"
        try:
            if text:
                text = Path(text).read_text(encoding="utf-8")
            else:
                where = "GRPC_XDS_BOOTSTRAP_CONFIG"
                text = environment.get(where, "")
            if not text:
                return None
            return cls._parse(json.loads(text))
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
            complain(where, f"cannot be read ({type(exc).__name__}: {exc})", right)
            return None

    @classmethod
    def _parse(cls, raw: Any) -> GrpcBootstrap:
        server, node = raw["xds_servers"][0], raw.get("node", {})
        kinds = [each.get("type") for each in server.get("channel_creds", [])]
        known = [kind for kind in kinds if kind in ("insecure", "tls", "google_default")]
        return cls(
            address=str(server["server_uri"]),
            tls=bool(known) and known[0] != "insecure",
            node_id=str(node.get("id", "")),
            metadata=dict(node.get("metadata", {})),
        )

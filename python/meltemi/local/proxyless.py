"""What a workload without a sidecar finds in its environment: who it is to the control plane, in
the words of each client that may run in it - our own, gRPC's `xds:///` and Kitex."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CLUSTER: Final = "Kubernetes"
"""Istio's name of the only cluster."""
LAST_KNOWN: Final = "last-known"
"""The folder of what the mesh's own clients knew: it goes with the mesh, not to the user's home."""


class ProxylessNode:
    """One replica, as the control plane describes it to `up`."""

    def __init__(self, workload: Mapping[str, Any], instance: Mapping[str, Any]) -> None:
        self._workload, self._instance = workload, instance

    def metadata(self) -> dict[str, Any]:
        """Of the xDS node, in Istio's words."""
        return {
            "NAME": self._instance["pod"],
            "NAMESPACE": self._workload["namespace"],
            "WORKLOAD_NAME": self._workload["name"],
            "CLUSTER_ID": CLUSTER,
            "INSTANCE_IPS": self._instance["address"],
            "LABELS": dict(self._workload["labels"]),
        }

    def grpc_bootstrap(self, xds_address: str) -> dict[str, Any]:
        """gRPC's bootstrap (gRFC A27)."""
        server = {
            "server_uri": xds_address,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }
        metadata = {"GENERATOR": "grpc", **self.metadata()}
        return {
            "xds_servers": [server],
            "node": {"id": self._instance["node_id"], "metadata": metadata},
        }

    def environment(
        self, xds_address: str, token: str, grpc_bootstrap: Path, last_known: Path
    ) -> dict[str, str]:
        """The variables beside those that every workload has."""
        return {
            "MELTEMI_XDS_ADDRESS": xds_address,
            "MELTEMI_XDS_TOKEN": token,
            "MELTEMI_XDS_NODE_ID": self._instance["node_id"],
            "MELTEMI_XDS_LAST_KNOWN": str(last_known),
            "GRPC_XDS_BOOTSTRAP": str(grpc_bootstrap),
            "KITEX_XDS_ISTIO_ADDR": xds_address,
            "KITEX_XDS_METAS": json.dumps(self.metadata(), sort_keys=True),
        }

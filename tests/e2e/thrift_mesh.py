"""The mesh that the Thrift tests share: two versions of a server that speaks every variant."""

from __future__ import annotations

from typing import Any

import yaml

NAMESPACE = "hello"
HOST = "hello-server.hello.svc.cluster.local"
CLIENT = "hello-client.hello"

PORTS = {
    f"{library}-{variant}": 9090 + index
    for index, (library, variant) in enumerate(
        [
            *(("apache", v) for v in ("framed-binary", "framed-compact", "unframed-binary")),
            *(("apache", v) for v in ("unframed-compact", "header")),
            *(("thriftpy2", v) for v in ("framed-binary", "framed-compact")),
            *(("thriftpy2", v) for v in ("unframed-binary", "unframed-compact")),
        ]
    )
}


def documents(notes: str) -> str:
    return yaml.safe_dump_all(
        [service(), destination_rule(), server("v1", notes), server("v2", notes), client()]
    )


def service() -> dict[str, Any]:
    ports = [{"name": f"tcp-metaprotocol-thrift-{n}", "port": p} for n, p in PORTS.items()]
    spec = {"selector": {"app": "hello-server"}, "ports": ports}
    return document("v1", "Service", "hello-server", spec)


def destination_rule() -> dict[str, Any]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v9")]
    spec = {"host": HOST, "subsets": subsets}
    return document("networking.istio.io/v1", "DestinationRule", "hello-server", spec)


def server(version: str, notes: str) -> dict[str, Any]:
    spec = {
        "command": ["python", "server.py"],
        "env": {"NOTES": notes},
        "ports": [{"name": f"tcp-metaprotocol-thrift-{n}", "port": p} for n, p in PORTS.items()],
    }
    labels = {"app": "hello-server", "version": version}
    return document("meltemi.io/v1alpha1", "Workload", f"hello-server-{version}", spec, labels)


def client() -> dict[str, Any]:
    labels = {"app": "hello-client", "version": "v7"}
    spec = {"command": ["sleep", "infinity"]}
    return document("meltemi.io/v1alpha1", "Workload", "hello-client", spec, labels)


def router(*routes: dict[str, Any]) -> dict[str, Any]:
    spec = {"hosts": [HOST], "routes": list(routes)}
    return document("metaprotocol.aeraki.io/v1alpha1", "MetaRouter", "hello", spec)


def route(
    name: str, to: dict[str, int], attributes: dict[str, Any] | None = None, host: str = HOST
) -> dict[str, Any]:
    """A route to subsets by weight."""
    rule: dict[str, Any] = {
        "name": name,
        "route": [
            {"destination": {"host": host, **({"subset": s} if s else {})}, "weight": w}
            for s, w in to.items()
        ],
    }
    if attributes:
        rule["match"] = {"attributes": attributes}
    return rule


def document(
    version: str,
    kind: str,
    name: str,
    spec: dict[str, Any],
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

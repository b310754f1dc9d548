"""The mesh that the tests share: two versions of a server that speaks every wire there is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

APPS = Path(__file__).with_name("apps")
DUBBO = Path(__file__).resolve().parents[2] / "examples" / "dubbo" / "python"

NAMESPACE = "hello"
SERVICE, MULTIPLEXED = "hello-server", "hello-multiplexed"
"""Two names for the same servers; requests to the second share upstream connections."""
HOST = f"{SERVICE}.{NAMESPACE}.svc.cluster.local"
CLIENT = f"hello-client.{NAMESPACE}"
IN_FLIGHT = {"meltemi.io/max-in-flight-per-connection": "64"}

THRIFT_PORTS = {
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
DUBBO_PORT = 20880
PORTS = [
    *({"name": f"tcp-metaprotocol-thrift-{n}", "port": p} for n, p in THRIFT_PORTS.items()),
    {"name": "tcp-metaprotocol-dubbo", "port": DUBBO_PORT},
]


def put_programs(directory: Path) -> None:
    """Makes `directory`, with the programs that a mesh of it runs."""
    shutil.copytree(APPS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    for file in DUBBO.glob("*.py"):
        shutil.copy(file, directory)


def documents(notes: str) -> str:
    return yaml.safe_dump_all(
        [
            service(SERVICE),
            service(MULTIPLEXED),
            destination_rule(SERVICE),
            destination_rule(MULTIPLEXED, IN_FLIGHT),
            server("v1", notes),
            server("v2", notes),
            client(),
        ]
    )


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": "hello-server"}, "ports": PORTS}
    return document("v1", "Service", name, spec)


def destination_rule(name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v9")]
    spec = {"host": f"{name}.{NAMESPACE}.svc.cluster.local", "subsets": subsets}
    made = document("networking.istio.io/v1", "DestinationRule", name, spec)
    made["metadata"]["annotations"] = annotations or {}
    return made


def server(version: str, notes: str) -> dict[str, Any]:
    spec = {"command": ["python", "server.py"], "env": {"NOTES": notes}, "ports": PORTS}
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


def answered_by(reply: str) -> str:
    """The version that a reply names: `Hello x, response from NAME-VERSION-0/ADDRESS`."""
    pod = reply.rsplit("response from ", 1)[1].partition("/")[0]
    return pod.rsplit("-", 2)[1]

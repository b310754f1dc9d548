"""A mesh of three services that call one another through their sidecars, with lanes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hello_mesh
import yaml
from lane_calls import DUBBO_PORT, THRIFT_PORT
from mesh import Mesh

NAMESPACE = "shop"
CALLER = f"caller.{NAMESPACE}"
HOPS = ("a", "b", "c")
PORTS = [
    {"name": "tcp-metaprotocol-thrift", "port": THRIFT_PORT},
    {"name": "tcp-metaprotocol-dubbo", "port": DUBBO_PORT},
]


def document(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, app: str = "") -> dict[str, Any]:
    return document("v1", "Service", name, {"selector": {"app": app or name}, "ports": PORTS})


def workload(app: str, lane: str, following: str = "", replicas: int = 1) -> dict[str, Any]:
    """An instance of a service in a lane; `base` is in none."""
    env = {"LANE": lane, "NEXT": following}
    spec = {"command": ["python", "lane_hop.py"], "ports": PORTS, "env": env, "replicas": replicas}
    made = document("meltemi.io/v1alpha1", "Workload", f"{app}-{lane}", spec)
    made["metadata"]["labels"] = {"app": app} if lane == "base" else {"app": app, "env": lane}
    return made


def shared(host: str) -> dict[str, Any]:
    """Requests to the host share upstream connections."""
    made = document("networking.istio.io/v1", "DestinationRule", "shared", {"host": host})
    made["metadata"]["annotations"] = hello_mesh.IN_FLIGHT
    return made


def caller() -> dict[str, Any]:
    made = document("meltemi.io/v1alpha1", "Workload", "caller", {"command": ["sleep", "infinity"]})
    made["metadata"]["labels"] = {"app": "caller"}
    return made


def group(*services: str, **more: Any) -> dict[str, Any]:
    hosts = [{"host": name} for name in services]
    spec = {"baggageKey": "env", "services": hosts, **more}
    return document("meltemi.io/v1alpha1", "LaneGroup", "group", spec)


def lane(name: str, **more: Any) -> dict[str, Any]:
    return document("meltemi.io/v1alpha1", "Lane", name, {"group": "group", **more})


def write(directory: Path, *documents: dict[str, Any]) -> None:
    """The folder of a mesh, with the programs of it."""
    hello_mesh.put_programs(directory)
    (directory / "mesh.yaml").write_text(yaml.safe_dump_all(documents))


def address(mesh: Mesh, name: str) -> str:
    """Where the caller calls a service."""
    return mesh.environment(CALLER)[f"{name.upper().replace('-', '_')}_SERVICE_HOST"]

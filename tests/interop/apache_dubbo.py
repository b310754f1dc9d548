"""Consumer and provider of Apache Dubbo (Java), each behind a sidecar of a mesh that `up` runs."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mesh import Mesh, eventually

SOURCES = Path(__file__).with_name("dubbo")
BUILT = Path(__file__).resolve().parents[2] / ".cache" / "interop-dubbo"
NAMESPACE = "shop"
HOST = "shop.shop.svc.cluster.local"
DUBBO_PORT, HTTP_PORT = 20880, 8080
LIMITED = "local rate limit of 'ruled.shop.svc.cluster.local' reached: 2 requests"
JVM_S = 60.0
"""How long a virtual machine may take to serve, on a machine that does much else."""


def build() -> None:
    """Builds the Java side, unless it is built. `make interop` does it before the tests."""
    done = subprocess.run(
        [str(SOURCES / "build.sh"), str(BUILT)], capture_output=True, text=True, timeout=420
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def java(main: str) -> list[str]:
    """The command that runs the class `interop.<main>`."""
    path = f"{BUILT / 'classes'}:{(BUILT / 'classpath').read_text().strip()}"
    opened = [
        f"--add-opens=java.base/java.{name}=ALL-UNNAMED"
        for name in ("lang", "math", "time", "util")
    ]
    small = ["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return ["java", *small, *opened, "-cp", path, f"interop.{main}"]


@dataclass
class Consumer:
    """The running Java consumer, told what to call over HTTP."""

    mesh: Mesh
    address: str
    services: Mapping[str, tuple[str, int]]
    """Where its sidecar takes calls to each service."""
    parameters: str = field(default="timeout=20000")

    def url(self, service: str = "shop", parameters: str = "") -> str:
        """Where to call, as a number: Dubbo takes the machine's own address for one of 127/8."""
        host, port = self.services[service]
        number = int(ipaddress.IPv4Address(host))
        return f"dubbo://{number}:{port}?{parameters or self.parameters}"

    def ask(self, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}:{HTTP_PORT}/", json.dumps(body).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def call(
        self,
        method: str,
        *arguments: Any,
        url: str = "",
        version: str = "1.0.0",
        interface: str = "Shop",
        attachments: dict[str, str] | None = None,
        generic: bool = False,
    ) -> dict[str, Any]:
        """What came back: `value`, `type`, `attachments`, `ms`; or `error`, `message`, `ms`, …"""
        found = self.ask(
            {
                "url": url or self.url(),
                "service": f"interop.{interface}",
                "version": version,
                "method": method,
                "args": [json.dumps(argument) for argument in arguments],
                "attachments": attachments or {},
                "generic": generic,
            }
        )
        assert isinstance(found, dict)
        return found

    def value(self, method: str, *arguments: Any, **how: Any) -> Any:
        found = self.call(method, *arguments, **how)
        assert "error" not in found, found
        return found["value"]

    def together(self, *calls: tuple[str, int]) -> dict[str, Any]:
        """Calls `later` with each at once; pairs of what was asked and came, as they came."""
        found = self.ask({"url": self.url(), "version": "1.0.0", "later": calls})
        assert isinstance(found, dict)
        return found


def stats(mesh: Mesh, workload: str) -> dict[str, float]:
    """The counters of the sidecar of a workload's first replica."""
    address = mesh.environment(workload)["INSTANCE_IP"]
    url = f"http://{address}:15000/stats?format=json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return {stat["name"]: stat["value"] for stat in json.load(answer)["stats"]}


def total(counters: Mapping[str, float], start: str, end: str) -> float:
    return sum(n for name, n in counters.items() if name.startswith(start) and name.endswith(end))


def consumer(mesh: Mesh) -> Consumer:
    """The consumer of `documents`, once it and both providers serve."""
    environment = mesh.environment("consumer.shop")
    services = {
        name: (environment[f"{word}_SERVICE_HOST"], int(environment[f"{word}_SERVICE_PORT"]))
        for name, word in (("shop", "SHOP"), ("nobody", "NOBODY"), ("ruled", "RULED"))
    }
    found = Consumer(mesh, environment["INSTANCE_IP"], services)
    versions = set()

    def serves() -> bool:
        answer = found.call("sayHello", "you")
        versions.add(answer.get("value", "").partition("from shop-")[2][:2])
        return {"v1", "v2"} <= versions

    eventually(serves, JVM_S)
    return found


def documents() -> str:
    """Two versions of the provider, a consumer, a service of nobody, and one with rules."""
    provider, caller = java("Provider"), java("Consumer")
    return yaml.safe_dump_all(
        [
            _service("shop", {"app": "shop"}),
            _service("ruled", {"app": "shop"}),
            _service("nobody", {"app": "nobody"}),
            _destination_rule(),
            _rules(),
            *(
                _workload(f"shop-{version}", "shop", version, provider, "dubbo", DUBBO_PORT)
                for version in ("v1", "v2")
            ),
            _workload("consumer", "consumer", "v1", caller, "http", HTTP_PORT),
        ]
    )


def _service(name: str, selector: dict[str, str]) -> dict[str, Any]:
    ports = [{"name": "tcp-metaprotocol-dubbo", "port": DUBBO_PORT}]
    return _document("v1", "Service", name, {"selector": selector, "ports": ports})


def _destination_rule() -> dict[str, Any]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    spec = {"host": "ruled.shop.svc.cluster.local", "subsets": subsets}
    return _document("networking.istio.io/v1", "DestinationRule", "ruled", spec)


def _rules() -> dict[str, Any]:
    """Of `ruled`: edits, by attachment, by method, else no route; two calls of who is limited."""
    host = "ruled.shop.svc.cluster.local"

    def route(name: str, subset: str, **attributes: Any) -> dict[str, Any]:
        to = [{"destination": {"host": host, "subset": subset}}]
        return {"name": name, "match": {"attributes": attributes}, "route": to}

    edited = route("edited", "v1", edit={"exact": "yes"}) | {
        "requestMutation": [
            {"key": "foo", "value": "bar"},
            {"key": "LANE", "value": "λ" * 1000},
            {"key": "gone", "remove": True},
        ],
        "responseMutation": [
            {"key": "echo", "remove": True},
            {"key": "seen", "value": "by the mesh"},
        ],
    }
    routes = [
        edited,
        route("gray", "v2", lane={"exact": "gray"}),
        route("hello", "v1", method={"exact": "sayHello"}, interface={"exact": "interop.Shop"}),
        route("map", "v1", method={"exact": "map"}),
        route("generic", "v2", method={"exact": "$invoke"}),
    ]
    buckets = [
        {
            "match": {"attributes": {"limited": {"exact": caller}}},
            "tokenBucket": {"maxTokens": 2, "tokensPerFill": 2, "fillInterval": "3600s"},
        }
        for caller in ("java", "python")
    ]
    spec = {"hosts": [host], "routes": routes, "localRateLimit": {"conditions": buckets}}
    return _document("metaprotocol.aeraki.io/v1alpha1", "MetaRouter", "ruled", spec)


def _workload(
    name: str, app: str, version: str, command: list[str], port_name: str, port: int
) -> dict[str, Any]:
    spec = {"command": command, "ports": [{"name": f"tcp-{port_name}", "port": port}]}
    return _document(
        "meltemi.io/v1alpha1", "Workload", name, spec, {"app": app, "version": version}
    )


def _document(
    version: str, kind: str, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

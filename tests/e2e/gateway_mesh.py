"""A mesh with two gateways before HTTP servers that answer with what they got."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import yaml
from mesh import Mesh

NAMESPACE = "shop"
PAUSE_S = 0.005  # of a busy client: the processes that it waits for share its cores
ECHO = '''
"""Answers each request with who it is and what came: GET /slow?s=SECONDS takes its time."""

import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/slow":
            time.sleep(float(parse_qs(url.query)["s"][0]))
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        said = {"pod": os.environ["POD_NAME"], "path": self.path, "headers": headers,
                "peer": self.client_address[0]}
        body = json.dumps(said).encode()
        self.send_response(int(parse_qs(url.query).get("status", ["200"])[0]))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer((os.environ["INSTANCE_IP"], 8081), Echo).serve_forever()
'''


def documents(edge_port: int, partner_port: int) -> str:
    """`page` in versions v1, v2 and, of lane dev, v3; `api`. The gateway `edge` has every host,
    the other one `partner.example.org`."""
    return yaml.safe_dump_all(
        [
            *(server("page", version, env) for version, env in VERSIONS),
            server("api", "v1", {}),
            service("page"),
            service("api"),
            subsets("page"),
            gateway_workload("edge", edge_port),
            gateway_workload("partner", partner_port),
            gateway("edge", ["*"]),
            gateway("partner", ["partner.example.org"]),
            virtual_service("page", ["*"], ["edge"], [{"route": [to("page", "v1")]}]),
            virtual_service("partner", ["*"], ["partner"], [{"route": [to("api")]}]),
            lane_group(),
            lane("dev"),
        ]
    )


VERSIONS: list[tuple[str, dict[str, str]]] = [("v1", {}), ("v2", {}), ("v3", {"env": "dev"})]


def document(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def server(app: str, version: str, more: dict[str, str]) -> dict[str, Any]:
    name = "-".join([app, version, *more.values()])
    spec = {
        "command": ["python", "echo.py"],
        "mesh": "proxyless",
        "ports": [{"name": "http", "port": 8081}],
    }
    made = document("meltemi.io/v1alpha1", "Workload", name, spec)
    made["metadata"]["labels"] = {"app": app, "version": version, **more}
    return made


def service(name: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8081}]
    return document("v1", "Service", name, {"selector": {"app": name}, "ports": ports})


def subsets(name: str) -> dict[str, Any]:
    spec = {"host": name, "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]}
    return document("networking.istio.io/v1", "DestinationRule", name, spec)


def gateway_workload(name: str, host_port: int) -> dict[str, Any]:
    ports = [{"name": "http", "port": 8080, "hostPort": host_port}]
    spec = {"mesh": "gateway", "ports": ports}
    made = document("meltemi.io/v1alpha1", "Workload", f"{name}-gateway", spec)
    made["metadata"]["labels"] = {"istio": name}
    return made


def gateway(name: str, hosts: list[str], **more: Any) -> dict[str, Any]:
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": hosts, **more}
    return document(
        "networking.istio.io/v1",
        "Gateway",
        name,
        {"selector": {"istio": name}, "servers": [server]},
    )


def virtual_service(
    name: str, hosts: list[str], gateways: list[str], http: list[dict[str, Any]]
) -> dict[str, Any]:
    spec = {"hosts": hosts, "gateways": gateways, "http": http}
    return document("networking.istio.io/v1", "VirtualService", name, spec)


def to(host: str, subset: str = "", weight: int | None = None) -> dict[str, Any]:
    destination = {"host": host, **({"subset": subset} if subset else {})}
    return {"destination": destination, **({} if weight is None else {"weight": weight})}


def lane_group(mode: str = "permissive") -> dict[str, Any]:
    spec = {"baggageKey": "env", "services": [{"host": "page"}, {"host": "api"}], "mode": mode}
    return document("meltemi.io/v1alpha1", "LaneGroup", "shop", spec)


def lane(name: str, **more: Any) -> dict[str, Any]:
    spec = {"group": "shop", "entry": [{"headers": {"uid": {"exact": "100"}}}], **more}
    return document("meltemi.io/v1alpha1", "Lane", name, spec)


@dataclass
class Edge:
    """A running mesh, and where its gateways are reached."""

    mesh: Mesh
    port: int
    partner_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, host: str = "www.example.com", **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={"host": host, **headers}, timeout=10)

    def pod(self, path: str = "/", **headers: str) -> str:
        response = self.get(path, **headers)
        assert response.status_code == 200, response.text
        return str(response.json()["pod"])

    def pods(self, count: int, **headers: str) -> Counter[str]:
        """Who answered that many requests over one connection."""
        with httpx.Client(base_url=self.url, timeout=10) as client:
            sent = {"host": "www.example.com", **headers}
            return Counter(client.get("/", headers=sent).json()["pod"] for _ in range(count))


@dataclass
class Load:
    """What clients saw that never stopped asking."""

    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def busy(edge: Edge, clients: int = 2, **headers: str) -> Iterator[Load]:
    """Clients that ask one request after the other over kept connections during the block."""
    load, done = Load(), threading.Event()
    sent = {"host": "www.example.com", **headers}

    def ask() -> None:
        with httpx.Client(base_url=edge.url, timeout=10) as client:
            while not done.is_set():
                try:
                    load.statuses[client.get("/", headers=sent).status_code] += 1
                except httpx.HTTPError as error:
                    load.failed.append(repr(error))
                time.sleep(PAUSE_S)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        done.set()
        for thread in threads:
            thread.join()

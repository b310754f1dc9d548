"""The columns of the table: each sends a request and says who answered, or that nobody may."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import apache
import grpc
import httpx
import stock_envoy
import thriftpy2_hello
from agreement import REFUSED, TABLE, VERSIONS, Request, Row
from control_plane_process import Running, running
from meltemi import proxyless
from meltemi.proxyless import (
    MeltemiError,
    NoEndpointError,
    NoRouteError,
    NotReadyError,
    metainfo,
)
from meltemi.proxyless.context import incoming
from meltemi.proxyless.mesh import Mesh
from mesh import meltemi
from mesh_clients import (
    GRPC,
    HTTP,
    LABELS,
    PORTS,
    THRIFT,
    WORKLOAD,
    blocking,
    envoy_of_http,
    envoy_of_thrift,
    grpc_caller,
    service_addresses,
)
from opentelemetry.context import attach, detach
from sidecar_process import sidecar
from thrift.Thrift import TApplicationException
from thrift_servers import thrift_servers, version_in, wait_for

FreePort = Callable[[], int]
Send = Callable[[Row, Request, int], Counter[str]]
"""Calls so often: who answered how many; REFUSED where the client may not call anybody."""

NAMES = ("sidecar", "sdk-thrift", "envoy-thrift", "sdk-httpx", "sdk-grpc", "grpcio", "envoy-http")


def documents(row: Row, servers: Mapping[str, Mapping[str, int]]) -> str:
    """The host of a row with its endpoints, subsets, and rule."""
    endpoints = [
        {
            "address": "127.0.0.1",
            "ports": {protocol: ports[name] for protocol, ports in servers.items()},
            "labels": {"version": version},
            "weight": row.weights.get(name, 1),
            "locality": row.localities.get(name, ""),
        }
        for name, version in VERSIONS.items()
    ]
    ports = [
        {"number": number, "name": name, "protocol": "TCP" if name == THRIFT else name.upper()}
        for name, number in PORTS.items()
    ]
    subsets = [{"name": f"v{n}", "labels": {"version": f"v{n}"}} for n in (1, 2, 3, 4)]
    key = "http" if row.kind == "VirtualService" else "routes"
    api = "networking.istio.io/v1" if key == "http" else "metaprotocol.aeraki.io/v1alpha1"
    rule = "\n".join("    " + line for line in row.rule.replace("HOST", row.host).splitlines())
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {row.name}}}
spec:
  hosts: [{row.host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: {json.dumps(ports)}
  endpoints: {json.dumps(endpoints)}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {row.name}}}
spec:
  host: {row.host}
  trafficPolicy: {row.policy}
  subsets: {json.dumps(subsets)}
---
apiVersion: {api}
kind: {row.kind}
metadata: {{name: {row.name}}}
spec:
  hosts: [{row.host}]
  {key}:
{rule}
---
"""


# === servers ===


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        body = self.server.name.encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read their own output."""


@contextlib.contextmanager
def http_servers(ports: Mapping[str, int]) -> Iterator[None]:
    """Each answers any request with its name."""
    servers = []
    for name, port in ports.items():
        server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        server.daemon_threads = True
        server.name = name  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Named(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._name)


@contextlib.contextmanager
def grpc_servers(ports: Mapping[str, int]) -> Iterator[None]:
    """Each answers any method with its name."""
    servers = []
    for name, port in ports.items():
        server = grpc.server(ThreadPoolExecutor(4), handlers=(_Named(name),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        servers.append(server)
    try:
        yield
    finally:
        for server in servers:
            server.stop(0).wait()


# === columns ===


class _Thrift:
    """Plain calls of Apache's library, with headers of THeader, to a proxy at a row's address."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    def __call__(self, row: Row, request: Request, count: int) -> Counter[str]:
        found: Counter[str] = Counter()
        address = self._addresses[row.host]
        client = apache.Client("header", address, PORTS[THRIFT])
        try:
            for _ in range(count):
                client.protocol.trans.clear_headers()
                for name, value in request.headers:
                    client.protocol.trans.set_header(name.encode(), value.encode())
                try:
                    waits = request.path.endswith("/wait")
                    found[version_in(client.wait("x", 0) if waits else client.sayHello("x"))] += 1
                except TApplicationException:
                    found[REFUSED] += 1
                    # Envoy closes the connection after it.
                    client.close()
                    client = apache.Client("header", address, PORTS[THRIFT])
        finally:
            client.close()
        return found


def sdk_thrift(mesh: Mesh) -> Send:
    """Headers are persistent metainfo, and baggage is what came from a caller."""

    def send(row: Row, request: Request, count: int) -> Counter[str]:
        context = incoming({n: value for n, value in request.headers if n == "baggage"})
        for name, value in request.headers:
            if name != "baggage":
                context = metainfo.with_persistent(name, value, context)
        service = thriftpy2_hello.hello.HelloService
        token = attach(context)
        target = f"{row.host}:{PORTS[THRIFT]}"
        try:
            with contextlib.closing(
                mesh.thrift(target, service, wire="theader", package="hello")
            ) as client:
                waits = request.path.endswith("/wait")

                def call() -> str:
                    return version_in(client.wait("x", 0) if waits else client.sayHello("x"))

                return _count(call, count)
        finally:
            detach(token)

    return send


def sdk_httpx(mesh: Mesh) -> Send:
    def send(row: Row, request: Request, count: int) -> Counter[str]:
        with mesh.httpx(f"http://{row.host}:{PORTS[HTTP]}") as client:

            def call() -> str:
                try:
                    answer = client.request(
                        request.http_method, request.path, headers=list(request.headers)
                    )
                except httpx.ConnectError as error:
                    if isinstance(error.__cause__, MeltemiError):
                        raise error.__cause__ from None
                    raise
                return answer.raise_for_status().text

            return _count(call, count)

    return send


def sdk_grpc(mesh: Mesh) -> Send:
    def send(row: Row, request: Request, count: int) -> Counter[str]:
        with mesh.grpc(f"{row.host}:{PORTS[GRPC]}") as channel:
            method = channel.unary_unary(request.path)

            def call() -> str:
                try:
                    answer: bytes = method(b"", timeout=20, metadata=request.headers)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        return REFUSED
                    raise
                return answer.decode()

            return _count(call, count)

    return send


def _count(call: Callable[[], str], count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        try:
            found[call()] += 1
        except (NoRouteError, NoEndpointError, NotReadyError):
            found[REFUSED] += 1
    return found


def grpcio(caller: subprocess.Popen[str]) -> Send:
    """A process of its own: gRPC reads its bootstrap file once."""

    def send(row: Row, request: Request, count: int) -> Counter[str]:
        order = {
            "target": f"xds:///{row.host}:{PORTS[GRPC]}",
            "method": request.path,
            "count": count,
            "timeout_s": 20,
            "metadata": request.headers,
        }
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write(json.dumps(order) + "\n")
        caller.stdin.flush()
        found: Counter[str] = Counter()
        for answer, times in json.loads(caller.stdout.readline())["answers"].items():
            assert answer in VERSIONS or answer.startswith("UNAVAILABLE"), answer
            found[answer if answer in VERSIONS else REFUSED] += times
        return found

    return send


def envoy_http(ports: Mapping[str, int]) -> Send:
    def send(row: Row, request: Request, count: int) -> Counter[str]:
        found: Counter[str] = Counter()
        at = ("127.0.0.1", ports[row.host])
        with contextlib.closing(http.client.HTTPConnection(*at, timeout=20)) as connection:
            for _ in range(count):
                connection.putrequest(request.http_method, request.path, skip_host=True)
                headers = (("host", f"{row.host}:{PORTS[HTTP]}"), *request.headers)
                for name, value in (*headers, ("content-length", "0")):
                    connection.putheader(name, value)
                connection.endheaders()
                answer = connection.getresponse()
                body = answer.read().decode()
                assert answer.status in (200, 404, 503), body
                found[body if answer.status == 200 else REFUSED] += 1
        return found

    return send


# === what runs ===


@dataclass
class World:
    """All columns by name, and what they were asked to be."""

    columns: dict[str, Send]
    plane: Running
    envoys: dict[str, stock_envoy.Envoy]


@contextlib.contextmanager
def world(folder: Path, free_port: FreePort) -> Iterator[World]:
    """One control plane with the hosts of all rows, and all clients of it."""
    servers = {kind: {name: free_port() for name in VERSIONS} for kind in PORTS}
    directory = folder / "mesh"
    directory.mkdir()
    text = "".join(documents(row, servers) for row in TABLE)
    workloads = WORKLOAD.format("front") + WORKLOAD.format("before")
    (directory / "mesh.yaml").write_text(workloads + text)
    valid = meltemi("validate", "-f", str(directory))
    assert valid.code == 0, valid.out
    listening = {row.host: free_port() for row in TABLE}
    with contextlib.ExitStack() as stack:
        thrift = servers[THRIFT]
        libraries = dict.fromkeys(thrift, "apache")
        stack.enter_context(thrift_servers(thrift, libraries, "header", folder))
        stack.enter_context(http_servers(servers[HTTP]))
        stack.enter_context(grpc_servers(servers[GRPC]))
        plane = stack.enter_context(running(directory, (free_port(), free_port())))
        addresses = {name: service_addresses(plane, name) for name in ("front", "before")}
        stack.enter_context(sidecar(plane, plane.node_id("front")))
        envoys = {
            "thrift": stack.enter_context(
                blocking(envoy_of_thrift(plane, free_port(), folder / "envoy-thrift"))
            ),
            "http": stack.enter_context(
                blocking(envoy_of_http(plane, listening, free_port(), folder / "envoy-http"))
            ),
        }
        host = TABLE[0].host
        wait_for(addresses["front"][host], PORTS[THRIFT])
        wait_for(addresses["before"][host], PORTS[THRIFT])
        mesh = stack.enter_context(
            proxyless.connect(
                plane.xds,
                pod="a-caller",
                instance_ip="127.0.0.7",
                labels=LABELS,
                last_known="off",
            )
        )
        columns: dict[str, Send] = {
            "sidecar": _Thrift(addresses["front"]),
            "sdk-thrift": sdk_thrift(mesh),
            "envoy-thrift": _Thrift(addresses["before"]),
            "sdk-httpx": sdk_httpx(mesh),
            "sdk-grpc": sdk_grpc(mesh),
            "grpcio": grpcio(stack.enter_context(grpc_caller(plane, folder))),
            "envoy-http": envoy_http(listening),
        }
        yield World(columns, plane, envoys)

"""A mesh of one listener, as resources, and a server behind it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from meltemi.engine import Engine
from meltemi.xds import messages


def call(method: str, seqid: int, kind: int = 1, text: str = "hello") -> bytes:
    """A framed, strict binary Thrift message whose only field is a string."""
    name, value = method.encode(), text.encode()
    body = struct.pack(">BBBBI", 0x80, 1, 0, kind, len(name)) + name + struct.pack(">i", seqid)
    body += struct.pack(">BhI", 11, 1, len(value)) + value + b"\0"
    return struct.pack(">I", len(body)) + body


def read_frame(sock: socket.socket) -> bytes:
    """The next framed message, without its length; empty where the peer has closed."""
    head = _read(sock, 4)
    return _read(sock, struct.unpack(">I", head)[0]) if head else b""


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def called(frame: bytes) -> tuple[str, int, int]:
    """Method, message type and sequence id of a strict binary message."""
    length = struct.unpack(">I", frame[4:8])[0]
    seqid = struct.unpack(">i", frame[8 + length : 12 + length])[0]
    return frame[8 : 8 + length].decode(), frame[3], seqid


class _Answer(socketserver.BaseRequestHandler):
    """Answers each call with a reply whose text is the server's name."""

    def handle(self) -> None:
        while frame := read_frame(self.request):
            method, _, seqid = called(frame)
            name = self.server.name  # type: ignore[attr-defined]
            self.request.sendall(call(method, seqid, kind=2, text=name))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def serve(free_port: Callable[[], int]) -> Iterator[Callable[[str], int]]:
    """Starts a Thrift server that answers with its name; gives its port."""
    servers: list[_Server] = []

    def start(name: str) -> int:
        server = _Server(("127.0.0.1", free_port()), _Answer)
        server.name = name  # type: ignore[attr-defined]
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Mesh:
    """An engine with one Thrift listener on `port`, whose routes are called `routes`."""

    engine: Engine
    port: int

    def put(self, name: str, value: Any) -> list[tuple[str, str]]:
        """Updates one resource; what the engine refused."""
        url = messages.type_url(value)
        return self.engine.update(url, "1", [(name, messages.serialize(value))])

    def accept(self, name: str, value: Any) -> None:
        assert self.put(name, value) == []

    def cluster(self, name: str, *ports: int) -> None:
        endpoints = [{"endpoint": {"address": address(port)}} for port in ports]
        value = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        }
        self.accept(name, messages.from_json("envoy.config.cluster.v3.Cluster", value))

    def routes(self, *routes: dict[str, Any]) -> None:
        """Returns once the listener, which waits for its first routes, is open."""
        self.accept("routes", route_configuration(*routes))
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.connect().close()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, self.engine.listener_errors()
                time.sleep(0.005)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def route_configuration(*routes: dict[str, Any]) -> Any:
    host = {"name": "dummy", "domains": ["*"], "routes": list(routes)}
    value = {"name": "routes", "virtual_hosts": [host]}
    return messages.from_json("envoy.config.route.v3.RouteConfiguration", value)


def to(cluster: str, method: str | None = None, name: str = "") -> dict[str, Any]:
    """A route to `cluster`, for one method or for all."""
    headers = [{"name": "method", "exact_match": method}] if method else []
    return {
        "name": name,
        "match": {"prefix": "/", "headers": headers},
        "route": {"cluster": cluster},
    }


def listener(port: int, protocol: str = "thrift", *filters: dict[str, Any]) -> Any:
    """One with `filters` before the router."""
    value = {
        "stat_prefix": "outbound|9090||server",
        "application_protocol": protocol,
        "rds": {"config_source": {"ads": {}}, "route_config_name": "routes"},
        "codec": {"name": f"aeraki.meta_protocol.codec.{protocol}"},
        "meta_protocol_filters": [*filters, {"name": "aeraki.meta_protocol.filters.router"}],
    }
    config = messages.pack(messages.typed_struct(messages.META_PROTOCOL_PROXY, value))
    built = messages.message("envoy.config.listener.v3.Listener")(name="listener")
    built.address.socket_address.address = "127.0.0.1"
    built.address.socket_address.port_value = port
    built.filter_chains.add().filters.add(
        name="envoy.filters.network.meta_protocol_proxy", typed_config=config
    )
    return built


def start_engine(**options: Any) -> Engine:
    settings: dict[str, Any] = {
        "workers": 1,
        "source_address": None,
        "node": {"workload": "client", "namespace": "default"},
        "access_log": None,
        "access_log_format": "text",
        "limits": {},
    }
    return Engine(**(settings | options))


@pytest.fixture
def mesh(free_port: Callable[[], int]) -> Iterator[Mesh]:
    mesh = Mesh(start_engine(), free_port())
    mesh.accept("listener", listener(mesh.port))
    yield mesh
    mesh.engine.close()

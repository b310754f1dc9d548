"""A stock Envoy that colours: one process with a listener for each set of groups, and a backend
that answers with the headers it got."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from meltemi.lanes import mark_pattern
from meltemi.lanes.envoy_filter import http_filters, slots
from meltemi.model import LaneGroup

START_S = 60.0
LOOPBACK_6 = "::1"
_FILTERS = "type.googleapis.com/envoy.extensions.filters."
ROUTE = "x-route"
"""Of the answer: `lane` where the route that asks for the mark `env=dev` was taken."""
STICKY = "/sticky"
"""A path that Envoy itself answers, with the baggage in a header of this name without the slash."""


def binary() -> Path:
    found = importlib.util.find_spec("envoy")
    assert found is not None and found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "_bin" / "envoy"


class Echo(http.server.BaseHTTPRequestHandler):
    """Any request; the answer's body are its headers as JSON, in their order."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        self.close_connection = not self.raw_requestline
        if self.close_connection:
            return
        pairs = []
        while line := self.rfile.readline(65537).decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            pairs.append((name, value.strip(" \t")))
        body = json.dumps(pairs).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        self.wfile.flush()


@contextlib.contextmanager
def echo(port: int) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Echo)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def listener(
    host: str, port: int, groups: Sequence[LaneGroup], underscores: bool
) -> dict[str, Any]:
    """With `underscores` the filters are those of an Istio gateway, else those of ours."""
    filters = http_filters(groups) if underscores else slots(groups, underscores=False)
    marked = {"safe_regex": {"regex": mark_pattern("env", "dev")}}
    lane = {"name": "baggage", "string_match": marked}
    said = {"header": {"key": ROUTE, "value": "lane"}}
    told = {"header": {"key": STICKY[1:], "value": "%REQ(baggage)%"}}
    routes = [
        {"match": {"path": STICKY}, "direct_response": {"status": 200},
         "response_headers_to_add": [told]},
        {"match": {"prefix": "/", "headers": [lane]}, "route": {"cluster": "echo"},
         "response_headers_to_add": [said]},
        {"match": {"prefix": "/"}, "route": {"cluster": "echo"}},
    ]  # fmt: skip
    router = {"@type": f"{_FILTERS}http.router.v3.Router", "suppress_envoy_headers": True}
    manager = {
        "@type": f"{_FILTERS}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": routes}]},
        "use_remote_address": True,
        "http_filters": [
            *filters,
            {"name": "router", "typed_config": router},
        ],
    }
    if not underscores:
        manager["common_http_protocol_options"] = {"headers_with_underscores_action": "DROP_HEADER"}
    return {
        "name": f"{host} {port}",
        "address": _address(host, port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


class Edge:
    """Listeners: one for each set of groups, which is known by a name."""

    def __init__(self, free_port: Callable[[], int]) -> None:
        self._free_port = free_port
        self._port = free_port()
        self._places: dict[tuple[str, bool], tuple[str, int]] = {}
        self.listeners: list[dict[str, Any]] = []

    def add(self, name: str, groups: Sequence[LaneGroup], *, underscores: bool = True) -> None:
        """`underscores`: whether headers with `_` come as far as the filters."""
        number = len(self.listeners)
        place = (f"127.11.{number // 250}.{number % 250 + 1}", self._port)
        self._places[name, False] = place
        self.listeners.append(listener(*place, groups, underscores))

    def add_ipv6(self, name: str, groups: Sequence[LaneGroup], *, underscores: bool = True) -> None:
        """The same for callers from ::1."""
        place = (LOOPBACK_6, self._free_port())
        self._places[name, True] = place
        self.listeners.append(listener(*place, groups, underscores))

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Edge]:
        backend = self._free_port()
        with echo(backend), envoy(self.listeners, backend, self._free_port(), folder):
            yield self

    def ask(
        self, name: str, headers: Sequence[tuple[str, str]] = (), source: str = "127.0.0.7",
        method: str = "GET", path: str = "/",
    ) -> tuple[str, list[tuple[str, str]]]:  # fmt: skip
        """The route that a request took, and the headers that came to the backend."""
        place = self._places[name, source == LOOPBACK_6]
        return asked(place, headers, method, path, source)

    def baggage(self, name: str, header: str, values: Sequence[str]) -> list[str]:
        """Of many requests with one header each; "" where there is none."""
        return sticky(self._places[name, False], header, values)


@contextlib.contextmanager
def envoy(
    listeners: Sequence[Mapping[str, Any]], backend: int, admin: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Running, with all its listeners up. Regexes of any size, as Istio has it."""
    endpoint = {"endpoint": {"address": _address("127.0.0.1", backend)}}
    cluster = {
        "name": "echo",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "echo", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    runtime = {"re2.max_program_size.error_level": 32768}
    bootstrap = {
        "admin": {"address": _address("127.0.0.1", admin)},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime}]},
        "static_resources": {"listeners": list(listeners), "clusters": [cluster]},
    }
    configuration = folder / "envoy.json"
    configuration.write_text(json.dumps(bootstrap))
    command = [str(binary()), "-c", str(configuration), "--concurrency", "1"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*command, "--use-dynamic-base-id"], stdout=log, stderr=log)
    try:
        _wait(process, admin, folder / "envoy.log")
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], admin: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, f"Envoy was not ready within {START_S} s"
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)


def asked(
    place: tuple[str, int],
    headers: Sequence[tuple[str, str]],
    method: str,
    path: str,
    source: str,
) -> tuple[str, list[tuple[str, str]]]:
    """Headers are written byte by byte, as latin-1 says them."""
    with socket.create_connection(place, 10, source_address=(source, 0)) as connection:
        head = [f"{method} {path} HTTP/1.1", "host: edge.example", "connection: close"]
        head += [f"{name}: {value}" for name, value in headers]
        if method in ("POST", "PUT"):
            head.append("content-length: 0")
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        answer = b""
        while received := connection.recv(65536):
            answer += received
    start, _, body = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200 "), answer
    route = "lane" if f"\r\n{ROUTE}: lane".encode() in start.lower() else ""
    return route, [(name, value) for name, value in json.loads(body)]


def sticky(place: tuple[str, int], header: str, values: Sequence[str]) -> list[str]:
    """The baggage of many requests with one header each, over a few connections."""
    found: list[str] = []
    with contextlib.ExitStack() as stack:
        ends = []
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection(place, 10))
            ends.append((connection, stack.enter_context(connection.makefile("rb"))))
        for begin in range(0, len(values), len(ends)):
            part = values[begin : begin + len(ends)]
            for (connection, _), value in zip(ends, part, strict=False):
                head = f"GET {STICKY} HTTP/1.1\r\nhost: a\r\n{header}: {value}\r\n\r\n"
                connection.sendall(head.encode())
            found += [_told(answers) for (_, answers), _ in zip(ends, part, strict=False)]
    return found


def _told(answers: BinaryIO) -> str:
    assert answers.readline().startswith(b"HTTP/1.1 200 ")
    told = ""
    while line := answers.readline().decode().strip():
        name, _, value = line.partition(": ")
        if name == STICKY[1:]:
            told = value
        assert name != "content-length" or value == "0"
    return told

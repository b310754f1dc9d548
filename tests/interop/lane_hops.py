"""The instances of the lane table: each says which lane it is of, and calls the next service.

They run in threads of the test, at every hop one for each word of LABELS and each protocol. What a
call says is JSON: the row, the hop that it is for, and the client (`via`) that carries it on. What
is answered is a list: the lane, then those of the hops behind; an error is its text after a `!`."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import thriftpy2_hello
from lane_table import HOPS, LABELS
from meltemi.proxyless import grpc_server
from meltemi.proxyless.context import incoming
from meltemi.proxyless.thrift import mesh_server
from mesh_clients import GRPC, HTTP, THRIFT
from opentelemetry.context import attach, detach
from thrift_servers import wait_for
from thriftpy2.rpc import make_server

FreePort = Callable[[], int]
Headers = Mapping[str, str]
Call = Callable[[str, str, Headers | None], str]
"""Of a host, with a text; `None`: with what the current context carries. Raises Refused."""
Ports = Mapping[str, Mapping[tuple[str, str], int]]
"""By protocol, of (hop, word): who is there, and with `!` behind the word, who is not."""


class Refused(Exception):
    """Nobody may answer; with the reason that the client gives."""


def order(row: str, hop: str, via: str) -> str:
    return json.dumps({"row": row, "hop": hop, "via": via})


class Hops:
    """What all instances do. `calls`, by client, is filled once the clients are there."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    def way(self, text: str, headers: Headers | None = None) -> list[str]:
        """Calls the hop that the text is for: the lanes from there on."""
        given = json.loads(text)
        host = f"{given['hop']}.{given['row']}.mesh"
        try:
            found: list[str] = json.loads(self.calls[given["via"]](host, text, headers))
        except Refused as reason:
            return [f"!{reason}"]
        return found

    def answer(self, hop: str, lane: str, text: str) -> str:
        given = json.loads(text)
        if given["hop"] != hop:
            return json.dumps([f"{lane} of {hop}, for {given['hop']}"])
        behind = HOPS[HOPS.index(hop) + 1 :]
        if not behind:
            return json.dumps([lane])
        return json.dumps([lane, *self.way(order(given["row"], behind[0], given["via"]))])


@contextlib.contextmanager
def instances(hops: Hops, free_port: FreePort) -> Iterator[Ports]:
    """All of them, until the end of the block."""
    serve = {THRIFT: _thrift, HTTP: _http, GRPC: _grpc}
    with contextlib.ExitStack() as stack:
        ports: dict[str, dict[tuple[str, str], int]] = {}
        for protocol, start in serve.items():
            here = ports.setdefault(protocol, {})
            for hop in HOPS:
                for lane in LABELS:
                    port = here[hop, lane] = free_port()
                    stack.enter_context(start(hops, hop, lane, port))
                    taken = stack.enter_context(socket.socket())
                    taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody will
                    here[hop, f"{lane}!"] = taken.getsockname()[1]
        for here in ports.values():
            for (_, lane), port in here.items():
                if not lane.endswith("!"):
                    wait_for("127.0.0.1", port)
        yield ports


@contextlib.contextmanager
def _thrift(hops: Hops, hop: str, lane: str, port: int) -> Iterator[None]:
    class Handler:
        def sayHello(self, text: str) -> str:
            return hops.answer(hop, lane, text)

    service = thriftpy2_hello.hello.HelloService
    server = make_server(service, Handler(), "127.0.0.1", port, client_timeout=None)
    server.daemon = True
    threading.Thread(target=mesh_server(server).serve, daemon=True).start()
    yield
    server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, answer: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer

    def server_bind(self) -> None:
        """As HTTPServer, but that it asks a name server who it is."""
        socketserver.TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        token = attach(incoming(list(self.headers.items())))
        try:
            body = self.server.answer(text).encode()
        finally:
            detach(token)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read their own output."""


@contextlib.contextmanager
def _http(hops: Hops, hop: str, lane: str, port: int) -> Iterator[None]:
    server = _Server(port, lambda text: hops.answer(hop, lane, text))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


class _Generic(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: Any) -> bytes:
            return self._answer(request.decode()).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.contextmanager
def _grpc(hops: Hops, hop: str, lane: str, port: int) -> Iterator[None]:
    handler = _Generic(lambda text: hops.answer(hop, lane, text))
    interceptors = [grpc_server.interceptor()]
    server = grpc.server(ThreadPoolExecutor(4), handlers=(handler,), interceptors=interceptors)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield
    server.stop(0).wait()

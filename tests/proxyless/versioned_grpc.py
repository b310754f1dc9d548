"""gRPC servers of one service that answer with the version that they are, and with what they got.

Requests and responses are bytes. Each of the methods `One`, `Many` (responses), `Sum` (requests)
and `Talk` (both) does what its first request asks for: `fail CODE v1,v2` fails in these versions,
`later CODE v1` after the first response, `slow` and `wait SECONDS` wait.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

SERVICE = "shop.Books"
ONE = f"/{SERVICE}/One"
SLOW_S = 1.5


@dataclass
class Versioned:
    """One version; `calls` counts by method."""

    version: str
    calls: dict[str, int] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def _do(self, method: str, request: bytes, context: Any) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        context.send_initial_metadata([("x-version", self.version)])
        what, _, rest = request.decode().partition(" ")
        if what == "fail":
            code, _, versions = rest.partition(" ")
            if self.version in versions.split(","):
                context.abort(grpc.StatusCode[code], f"{self.version} fails")
        if what == "wait":
            time.sleep(float(rest))
        if what == "slow":
            context.add_callback(self.cancelled.set)
            time.sleep(SLOW_S)

    def _later(self, request: bytes, context: Any) -> None:
        what, _, rest = request.decode().partition(" ")
        if what == "later":
            context.abort(grpc.StatusCode[rest.split()[0]], f"{self.version} fails later")

    def one(self, request: bytes, context: Any) -> bytes:
        self._do("One", request, context)
        metadata = [
            [name, value if isinstance(value, str) else value.hex()]
            for name, value in context.invocation_metadata()
        ]
        told = {"version": self.version, "metadata": metadata, "request": request.decode()}
        return json.dumps(told).encode()

    def many(self, request: bytes, context: Any) -> Iterator[bytes]:
        self._do("Many", request, context)
        for number in range(3):
            yield f"{self.version}-{number}".encode()
            self._later(request, context)

    def sum(self, requests: Iterable[bytes], context: Any) -> bytes:
        received = list(requests)
        self._do("Sum", received[0] if received else b"", context)
        return f"{self.version}: {b','.join(received).decode()}".encode()

    def talk(self, requests: Iterable[bytes], context: Any) -> Iterator[bytes]:
        for number, request in enumerate(requests):
            if not number:
                self._do("Talk", request, context)
            yield f"{self.version}: {request.decode()}".encode()
            self._later(request, context)


@contextlib.contextmanager
def serving(versions: dict[str, int]) -> Iterator[dict[str, Versioned]]:
    """Servers of `versions`, by their ports."""
    made: dict[str, Versioned] = {}
    servers = []
    for name, port in versions.items():
        each = made[name] = Versioned(name)
        handlers = {
            "One": grpc.unary_unary_rpc_method_handler(each.one),
            "Many": grpc.unary_stream_rpc_method_handler(each.many),
            "Sum": grpc.stream_unary_rpc_method_handler(each.sum),
            "Talk": grpc.stream_stream_rpc_method_handler(each.talk),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        server = grpc.server(ThreadPoolExecutor(16), handlers=(generic,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        servers.append(server)
    try:
        yield made
    finally:
        for server in servers:
            server.stop(0).wait()

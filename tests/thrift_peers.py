"""Ends of Thrift calls for the tests: a service, servers of it, and a mesh that sends where told.

Servers are thriftpy2's own, wrapped or not, and scripted ones that keep what they read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import thriftpy2
from meltemi.proxyless.target import Target
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.server import TThreadedServer
from thriftpy2.thrift import TProcessor
from thriftpy2.transport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TServerSocket,
)

IDL = """
namespace go cwg.bookinfo.reviews
namespace py other.name
enum Kind { LOCAL = 0, GREEN = 2 }
struct Review {
    1: required Kind kind, 2: i8 rating, 3: map<string, list<i64>> numbers, 4: binary raw
}
exception NoSuchProduct { 1: string id }
service Base { i32 ping() }
service Reviews extends Base {
    Review review(1: required string id, 2: i32 times = 1) throws (1: NoSuchProduct missing),
    string echo(1: string text),
    void nothing(1: string text),
    oneway void note(1: string text),
    string maybe(),
    void close()
}
"""


def load(folder: Any) -> Any:
    """The module of the IDL, from a file named `shop.thrift`."""
    path = folder / "shop.thrift"
    path.write_text(IDL)
    return thriftpy2.load(str(path))


@dataclass
class Handler:
    """Serves `Reviews`, and keeps what it was asked."""

    module: Any
    asked: list[tuple[str, Any]] = field(default_factory=list)
    noted: threading.Event = field(default_factory=threading.Event)
    # Called at the start of each method, with its name.
    seen: Callable[[str], None] = lambda _method: None

    def ping(self) -> int:
        self.seen("ping")
        return 7

    def review(self, id: str, times: int) -> Any:
        self.seen("review")
        self.asked.append(("review", (id, times)))
        if id == "none":
            raise self.module.NoSuchProduct(id=id)
        return self.module.Review(kind=2, rating=5, numbers={"a": [1, 2]}, raw=b"\xff\x00")

    def echo(self, text: str) -> str:
        self.seen("echo")
        return text

    def nothing(self, text: str) -> None:
        self.seen("nothing")
        self.asked.append(("nothing", text))

    def note(self, text: str) -> None:
        self.seen("note")
        self.asked.append(("note", text))
        self.noted.set()

    def maybe(self) -> None:
        return None

    def close(self) -> None:
        self.asked.append(("close", None))


class AsyncHandler:
    """The same with methods that are awaited."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._handler, name)

        async def awaited(*args: Any) -> Any:
            await asyncio.sleep(0)
            return method(*args)

        return awaited


def server_of(
    module: Any,
    handler: Any,
    port: int,
    *,
    framed: bool = True,
    timeout_ms: int | None = None,
    processor: Any = None,
) -> TThreadedServer:
    """thriftpy2's own server, which `running` starts."""
    transports = TFramedTransportFactory() if framed else TBufferedTransportFactory()
    return TThreadedServer(
        processor or TProcessor(module.Reviews, handler),
        TServerSocket("127.0.0.1", port, client_timeout=timeout_ms),
        itrans_factory=transports,
        iprot_factory=TBinaryProtocolFactory(),
        daemon=True,
    )


@contextlib.contextmanager
def running(server: Any) -> Iterator[Any]:
    """A server of thriftpy2 that listens, in threads of its own."""
    listening = threading.Event()
    listen = server.trans.listen

    def listened() -> None:
        listen()
        listening.set()

    server.trans.listen = listened
    # Ends with the process: thriftpy2's servers have no way to leave accept().
    thread = threading.Thread(target=_serve, args=(server,), daemon=True)
    thread.start()
    assert listening.wait(5)
    try:
        yield server
    finally:
        server.closed = True
        server.trans.close()
        thread.join(5)


def _serve(server: Any) -> None:
    # What accept() raises when the test closes its socket.
    with contextlib.suppress(OSError, ValueError, AttributeError, AssertionError):
        server.serve()


class Scripted:
    """A server that keeps what it reads from each connection and answers what `answer` gives."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.read: list[bytes] = []
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._listener.getsockname())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 20):
                self.read.append(data)
                answer = self._answer(data)
                if answer is None:
                    connection.close()
                    return
                connection.sendall(answer)

    def close(self) -> None:
        for each in [self._listener, *self.connections]:
            # shutdown wakes the threads that read.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class Routed:
    """A `Call`: where it goes, attempt by attempt, and what was told to it."""

    addresses: Sequence[str]
    told: list[tuple[Any, ...]]
    timeout_s: float | None = None
    per_try_timeout_s: float | None = None
    request_changes: Sequence[tuple[str, str, str]] = ()
    response_changes: Sequence[tuple[str, str, str]] = ()
    wait_s: float = 0.0
    attempt: int = 0
    cluster: str = "c"
    route: str = "r"
    peer: dict[str, str] | None = None

    @property
    def address(self) -> str:
        return self.addresses[self.attempt]

    def succeeded(self, status: int | None = None) -> None:
        self.told.append(("succeeded", status))

    def failed(self, reason: str, status: int | None = None) -> float | None:
        self.told.append(("failed", reason, status))
        if self.attempt + 1 == len(self.addresses):
            return None
        self.attempt += 1
        return self.wait_s

    def abandoned(self) -> None:
        self.told.append(("abandoned",))


class Straight:
    """A mesh without rules: every call goes to `addresses`, the next of them after each failure."""

    source_address: str | None = None

    def __init__(self, *addresses: str, **of_call: Any) -> None:
        self.addresses = addresses
        self.of_call = of_call
        self.told: list[tuple[Any, ...]] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.served: dict[str, str] = {}

    def target(self, text: str) -> Target:
        return Target.parse(text)

    def serves(self, target: Target, prefix: str) -> None:
        self.served[target.text] = prefix

    def call(
        self,
        target: Target,
        path: str,
        headers: Sequence[tuple[str, str]],
        within_s: float | None = None,
    ) -> Routed:
        self.asked.append((path, dict(headers)))
        return Routed(self.addresses, self.told, **self.of_call)

    async def call_async(
        self,
        target: Target,
        path: str,
        headers: Sequence[tuple[str, str]],
        within_s: float | None = None,
    ) -> Routed:
        return self.call(target, path, headers, within_s)


def mesh_of(*addresses: str, **of_call: Any) -> Any:
    """A `Straight`, as a Mesh for the type checker."""
    return Straight(*addresses, **of_call)


def module_of(**attributes: Any) -> Any:
    """A module of an IDL, made by hand."""
    return SimpleNamespace(**attributes)

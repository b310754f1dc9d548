"""What the tests know of a protocol; all else is the same test for each.

A test asks for `protocol` (one wire of each protocol), `mode` (one of each way upstream) or `wire`
(every wire there is), connects, and calls `HelloService`."""

from __future__ import annotations

import abc
import itertools
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any

import apache
import dubbo_hello
import dubbo_wire
import hello_mesh
from mesh import Mesh
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

NO_SUCH_METHOD, NO_ROUTE, LOST = "no such method", "no route", "lost"
"""What can go wrong, by the names under which `Wire.errors` holds each protocol's number for it."""


class Refused(Exception):
    """The exception that `HelloService` declares."""


class Problem(Exception):
    """The protocol's own error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Answer:
    """A reply as it came."""

    id: int
    text: str = ""
    refused: bool = False
    """The exception that the service declares."""
    code: int | None = None
    """The number of the protocol's own error."""


class Connection(abc.ABC):
    """A connection for whole calls, or for bytes: not both with calls in flight."""

    socket: socket.socket

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def encode(self, method: str, number: int, *given: str | int, oneway: bool = False) -> bytes:
        """The bytes of a call."""

    @abc.abstractmethod
    def read(self) -> Answer:
        """The next reply."""

    @abc.abstractmethod
    def close(self) -> None: ...

    def call(self, method: str, *given: str | int) -> str:
        """Raises Refused or Problem."""
        number = next(self._ids)
        self.socket.sendall(self.encode(method, number, *given))
        answer = self.read()
        assert answer.id == number
        if answer.refused:
            raise Refused(answer.text)
        if answer.code is not None:
            raise Problem(answer.code, answer.text)
        return answer.text

    def hello(self, name: str) -> str:
        """Calls `sayHello`; the reply is checked."""
        reply = self.call("sayHello", name)
        assert reply.startswith(f"Hello {name}, response from ")
        return reply

    def version(self) -> str:
        """The version that answers."""
        return hello_mesh.answered_by(self.hello("x"))

    def versions(self, calls: int) -> Counter[str]:
        """How often each version answered."""
        return Counter(self.version() for _ in range(calls))

    def note(self, text: str) -> None:
        self.socket.sendall(self.encode("note", next(self._ids), text, oneway=True))

    def has_ended(self) -> bool:
        return self.socket.recv(1) == b""


class ThriftConnection(Connection):
    """By Apache Thrift's own library."""

    def __init__(self, variant: str, host: str, port: int, timeout_s: float = 10) -> None:
        super().__init__()
        self._client = apache.Client(variant, host, port, timeout_s)
        self._make = apache.VARIANTS[variant]
        self.socket: socket.socket = self._client.socket.handle

    def encode(self, method: str, number: int, *given: str | int, oneway: bool = False) -> bytes:
        protocol, transport = self._make
        memory = TMemoryBuffer()
        writer = protocol().getProtocol(transport().getTransport(memory) if transport else memory)
        kind = TMessageType.ONEWAY if oneway else TMessageType.CALL
        apache.write(writer, method, kind, number, apache.arguments(*given))
        found: bytes = memory.getvalue()
        return found

    def read(self) -> Answer:
        protocol: Any = self._client.protocol
        _, kind, number = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            problem = TApplicationException()
            problem.read(protocol)
            protocol.readMessageEnd()
            return Answer(number, str(problem.message), code=problem.type)
        fields = apache.read_struct(protocol)
        protocol.readMessageEnd()
        if 0 not in fields:
            return Answer(number, fields[1][1], refused=True)
        return Answer(number, fields[0])

    def close(self) -> None:
        self._client.close()


class DubboConnection(Connection):
    """By the wire code of the Dubbo example."""

    def __init__(
        self, host: str, port: int, timeout_s: float = 10, interface: str = dubbo_hello.INTERFACE
    ) -> None:
        super().__init__()
        self.interface = interface
        self.socket = socket.create_connection((host, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def encode(self, method: str, number: int, *given: str | int, oneway: bool = False) -> bytes:
        request = dubbo_wire.Request(
            self.interface,
            method,
            given,
            id=number % 2**64,
            two_way=not oneway,
        )
        return dubbo_wire.encode_request(request)

    def reply(self) -> dubbo_wire.Reply:
        frame = dubbo_wire.read_frame(self.socket)
        if not frame:
            raise EOFError
        message = dubbo_wire.decode(frame)
        assert isinstance(message, dubbo_wire.Reply)
        return message

    def ask(self, request: dubbo_wire.Request) -> dubbo_wire.Reply:
        """One request, and its reply."""
        self.socket.sendall(dubbo_wire.encode_request(request))
        return self.reply()

    def read(self) -> Answer:
        reply = self.reply()
        number = reply.id - 2**64 if reply.id >= 2**63 else reply.id
        if reply.status != dubbo_wire.OK:
            return Answer(number, reply.reason, code=reply.status)
        if reply.exception:
            return Answer(number, reply.reason, refused=True)
        return Answer(number, str(reply.value))

    def close(self) -> None:
        self.socket.close()


@dataclass(frozen=True)
class Wire:
    """A protocol in one of its forms, and where the servers of the mesh speak it."""

    name: str
    protocol: str
    port: int
    errors: dict[str, int]
    largest_id: int
    in_order: bool = True
    """Replies come in the order of their requests; else only those of one id do."""
    service: str = hello_mesh.SERVICE

    def address(self, mesh: Mesh) -> tuple[str, int]:
        """Where the client's sidecar listens for the service."""
        environment = mesh.environment(hello_mesh.CLIENT)
        name = self.service.upper().replace("-", "_")
        return environment[f"{name}_SERVICE_HOST"], self.port

    def connect(self, mesh: Mesh, timeout_s: float = 10) -> Connection:
        host, port = self.address(mesh)
        if self.protocol == "dubbo":
            return DubboConnection(host, port, timeout_s)
        return ThriftConnection(self.name.partition(" ")[0], host, port, timeout_s)


THRIFT_ERRORS = {
    NO_SUCH_METHOD: TApplicationException.UNKNOWN_METHOD,
    NO_ROUTE: TApplicationException.UNKNOWN_METHOD,
    LOST: TApplicationException.INTERNAL_ERROR,
}
DUBBO_ERRORS = {NO_SUCH_METHOD: dubbo_hello.SERVICE_ERROR, NO_ROUTE: 60, LOST: 80}


def thrift(variant: str, service: str = hello_mesh.SERVICE) -> Wire:
    name = variant if service == hello_mesh.SERVICE else f"{variant} multiplexed"
    port = hello_mesh.THRIFT_PORTS[f"apache-{variant}"]
    return Wire(name, "thrift", port, THRIFT_ERRORS, 2**31 - 1, service=service)


WIRES = {
    wire.name: wire
    for wire in (
        *(thrift(variant) for variant in apache.VARIANTS),
        thrift("framed-binary", hello_mesh.MULTIPLEXED),
        thrift("unframed-compact", hello_mesh.MULTIPLEXED),
        Wire("dubbo", "dubbo", hello_mesh.DUBBO_PORT, DUBBO_ERRORS, 2**63 - 1, in_order=False),
    )
}
PROTOCOLS = {"thrift": WIRES["framed-binary"], "dubbo": WIRES["dubbo"]}
MODES = {**PROTOCOLS, "thrift multiplexed": WIRES["framed-binary multiplexed"]}
"""Each way in which requests find their upstream connection."""

"""`hello.thrift` over Apache Thrift's own library: what its compiler would generate, by hand."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport import TSocket, TTransport

# Variant -> (protocol, transport). A THeader protocol brings its transport with it.
VARIANTS: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None]] = {
    "framed-binary": (TBinaryProtocolFactory, TTransport.TFramedTransportFactory),
    "framed-compact": (TCompactProtocolFactory, TTransport.TFramedTransportFactory),
    "unframed-binary": (TBinaryProtocolFactory, TTransport.TBufferedTransportFactory),
    "unframed-compact": (TCompactProtocolFactory, TTransport.TBufferedTransportFactory),
    "header": (THeaderProtocolFactory, None),
}


class Processor:
    """Serves `HelloService`; answers say who answered."""

    def process(self, received: Any, sent: Any) -> bool:
        method, kind, sequence = received.readMessageBegin()
        arguments = read_struct(received)
        received.readMessageEnd()
        if kind == TMessageType.ONEWAY:
            with Path(os.environ["NOTES"]).open("a") as notes:
                notes.write(f"{os.environ['POD_NAME']} {arguments[1]}\n")
            return True
        if method == "sayHello" and arguments[1] == "refused":
            write(sent, method, TMessageType.REPLY, sequence, refused("not you"))
        elif method in ("sayHello", "wait"):
            time.sleep(arguments.get(2, 0) / 1000)
            reply = f"Hello {arguments[1]}, response from {me()}"
            write(sent, method, TMessageType.REPLY, sequence, string_field(0, reply))
        else:
            problem = TApplicationException(TApplicationException.UNKNOWN_METHOD, method)
            write(sent, method, TMessageType.EXCEPTION, sequence, problem.write)
        return True

    def on_message_begin(self, _: Any) -> None:
        """Apache's servers ask for it."""


class Client:
    """Calls `HelloService` over one connection."""

    def __init__(self, variant: str, host: str, port: int, timeout_s: float = 10) -> None:
        protocol, transport = VARIANTS[variant]
        self.socket = TSocket.TSocket(host, port)
        self.socket.setTimeout(timeout_s * 1000)
        self.transport = self.socket if transport is None else transport().getTransport(self.socket)
        self.protocol = protocol().getProtocol(self.transport)
        self.sequence = itertools.count(1)
        self.transport.open()

    def sayHello(self, name: str) -> str:
        return self.call("sayHello", string_field(1, name))

    def wait(self, name: str, milliseconds: int) -> str:
        return self.call("wait", arguments(name, milliseconds))

    def note(self, text: str) -> None:
        write(
            self.protocol, "note", TMessageType.ONEWAY, next(self.sequence), string_field(1, text)
        )

    def call(self, method: str, arguments: Callable[[Any], None]) -> str:
        sequence = next(self.sequence)
        write(self.protocol, method, TMessageType.CALL, sequence, arguments)
        name, kind, answered = self.protocol.readMessageBegin()
        assert (name, answered) == (method, sequence)
        if kind == TMessageType.EXCEPTION:
            problem = TApplicationException()
            problem.read(self.protocol)
            self.protocol.readMessageEnd()
            raise problem
        fields = read_struct(self.protocol)
        self.protocol.readMessageEnd()
        if 0 not in fields:
            raise Refused(fields[1][1])
        return str(fields[0])

    def close(self) -> None:
        self.transport.close()


class Refused(Exception):
    """The exception that `hello.thrift` declares."""


def write(
    protocol: Any, method: str, kind: int, sequence: int, struct: Callable[[Any], None]
) -> None:
    protocol.writeMessageBegin(method, kind, sequence)
    struct(protocol)
    protocol.writeMessageEnd()
    protocol.trans.flush()


def arguments(*given: str | int) -> Callable[[Any], None]:
    """Strings and i32s, in the fields 1, 2, ..."""

    def struct(protocol: Any) -> None:
        protocol.writeStructBegin("arguments")
        for number, value in enumerate(given, 1):
            if isinstance(value, str):
                field(protocol, TType.STRING, number, protocol.writeString, value)
            else:
                field(protocol, TType.I32, number, protocol.writeI32, value)
        protocol.writeFieldStop()
        protocol.writeStructEnd()

    return struct


def string_field(number: int, value: str) -> Callable[[Any], None]:
    def struct(protocol: Any) -> None:
        protocol.writeStructBegin("s")
        field(protocol, TType.STRING, number, protocol.writeString, value)
        protocol.writeFieldStop()
        protocol.writeStructEnd()

    return struct


def refused(reason: str) -> Callable[[Any], None]:
    def struct(protocol: Any) -> None:
        protocol.writeStructBegin("result")
        protocol.writeFieldBegin("refused", TType.STRUCT, 1)
        string_field(1, reason)(protocol)
        protocol.writeFieldEnd()
        protocol.writeFieldStop()
        protocol.writeStructEnd()

    return struct


def field(protocol: Any, kind: int, number: int, writer: Callable[[Any], None], value: Any) -> None:
    protocol.writeFieldBegin("", kind, number)
    writer(value)
    protocol.writeFieldEnd()


def read_struct(protocol: Any) -> dict[int, Any]:
    """Strings, integers and structs by field number."""
    found: dict[int, Any] = {}
    protocol.readStructBegin()
    while True:
        _, kind, number = protocol.readFieldBegin()
        if kind == TType.STOP:
            break
        if kind == TType.STRING:
            found[number] = protocol.readString()
        elif kind == TType.I32:
            found[number] = protocol.readI32()
        elif kind == TType.STRUCT:
            found[number] = read_struct(protocol)
        else:
            protocol.skip(kind)
        protocol.readFieldEnd()
    protocol.readStructEnd()
    return found


def me() -> str:
    return f"{os.environ['POD_NAME']}/{os.environ['INSTANCE_IP']}"

"""Calls with baggage over one connection, in each wire whose head a sidecar reads.

Programs of a mesh and tests share it. A call is `sayHello(text)`; what is answered is a text."""

from __future__ import annotations

import itertools
import os
import socket
import struct

import apache
import dubbo_hello
import dubbo_wire
from thrift.Thrift import TApplicationException

THRIFT_PORT, DUBBO_PORT = 9090, 20880
WIRES = ("theader", "ttheader", "dubbo")


class Failed(Exception):
    """The protocol's own error, with its reason."""


class Caller:
    """One connection of a wire; not for several threads."""

    def __init__(self, wire: str, host: str, timeout_s: float = 10) -> None:
        self._wire, self._numbers = wire, itertools.count(1)
        if wire == "theader":
            self._apache = apache.Client("header", host, THRIFT_PORT, timeout_s)
            return
        port = DUBBO_PORT if wire == "dubbo" else THRIFT_PORT
        self._socket = socket.create_connection((host, port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        (self._apache if self._wire == "theader" else self._socket).close()

    def call(self, text: str, baggage: str = "") -> str:
        """Raises Failed, OSError or EOFError."""
        carried = {"baggage": baggage} if baggage else {}
        if self._wire == "theader":
            return self._theader(text, carried)
        if self._wire == "dubbo":
            return self._dubbo(text, carried)
        return self._ttheader(text, {f"RPC_TRANSIT_{name}": v for name, v in carried.items()})

    def _theader(self, text: str, headers: dict[str, str]) -> str:
        self._apache.protocol.trans.clear_headers()
        for name, value in headers.items():
            self._apache.protocol.trans.set_header(name.encode(), value.encode())
        try:
            return self._apache.sayHello(text)
        except TApplicationException as error:
            raise Failed(error.message) from None

    def _dubbo(self, text: str, attachments: dict[str, str]) -> str:
        request = dubbo_wire.Request(
            dubbo_hello.INTERFACE, "sayHello", (text,), attachments, id=next(self._numbers)
        )
        self._socket.sendall(dubbo_wire.encode_request(request))
        frame = dubbo_wire.read_frame(self._socket)
        if not frame:
            raise EOFError
        reply = dubbo_wire.decode(frame)
        assert isinstance(reply, dubbo_wire.Reply) and reply.id == request.id
        if reply.status != dubbo_wire.OK or reply.exception:
            raise Failed(reply.reason)
        return str(reply.value)

    def _ttheader(self, text: str, pairs: dict[str, str]) -> str:
        """As Kitex writes it, and reads it: cloudwego/gopkg, protocol/ttheader."""
        number = next(self._numbers)
        self._socket.sendall(_ttheader_frame(number, pairs, _message(number, text)))
        data = self._exactly(struct.unpack(">I", self._exactly(4))[0])
        magic, _, answered, words = struct.unpack_from(">HHiH", data)
        assert (magic, answered) == (0x1000, number)
        return _answer(data[10 + 4 * words :])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def call(wire: str, host: str, text: str, baggage: str = "") -> str:
    """Over a connection of its own."""
    with Caller(wire, host) as caller:
        return caller.call(text, baggage)


def service_host(name: str) -> str:
    """Where this process calls a service."""
    return os.environ[f"{name.upper()}_SERVICE_HOST"]


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def _ttheader_frame(number: int, pairs: dict[str, str], payload: bytes) -> bytes:
    info = b"\0\0"
    if pairs:
        info += b"\x01" + struct.pack(">H", len(pairs))
        info += b"".join(_text(name) + _text(value) for name, value in pairs.items())
    info += bytes(-len(info) % 4)
    body = struct.pack(">HHiH", 0x1000, 0, number, len(info) // 4) + info + payload
    return struct.pack(">I", len(body)) + body


def _message(number: int, text: str) -> bytes:
    name, value = b"sayHello", text.encode()
    head = struct.pack(">HBBi", 0x8001, 0, 1, len(name)) + name + struct.pack(">i", number)
    return head + struct.pack(">bhi", 11, 1, len(value)) + value + b"\0"


def _answer(payload: bytes) -> str:
    """The result (field 0), or the message (field 1) of an exception."""
    if payload[:2] != b"\x80\x01":
        payload = payload[4:]  # framed inside
    kind, size = struct.unpack_from(">xxxBi", payload)
    _, _, length = struct.unpack_from(">bhi", payload, 12 + size)
    start = 12 + size + 7
    found = payload[start : start + length].decode()
    if kind != 2:
        raise Failed(found)
    return found

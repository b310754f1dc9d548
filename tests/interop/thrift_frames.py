"""Framed, strict binary Thrift messages as bytes, for peers that look at every one."""

from __future__ import annotations

import socket
import struct


def call(method: str, seqid: int, kind: int = 1) -> bytes:
    """A message without fields; `kind` 1 is a call, 2 a reply."""
    name = method.encode()
    body = struct.pack(">BBBBI", 0x80, 1, 0, kind, len(name)) + name + struct.pack(">iB", seqid, 0)
    return struct.pack(">I", len(body)) + body


def read_frame(sock: socket.socket) -> bytes:
    """The next message, without the length before it."""
    return _read(sock, struct.unpack(">I", _read(sock, 4))[0])


def called(frame: bytes) -> tuple[str, int, int]:
    """Method, kind and sequence id of a message."""
    length = struct.unpack(">I", frame[4:8])[0]
    seqid = struct.unpack(">i", frame[8 + length : 12 + length])[0]
    return frame[8 : 8 + length].decode(), frame[3], seqid


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, f"closed after {len(data)} of {count} bytes"
        data += more
    return data

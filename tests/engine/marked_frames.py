"""Calls with headers, written byte by byte, and a server that keeps what reached it."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Sequence
from typing import Any

Pairs = Sequence[tuple[bytes, bytes]]

MESSAGE = b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x07\x00"
REPLY = b"\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x07\x00"


def ttheader(*blocks: Pairs, transforms: bytes = b"", token: bytes | None = None) -> bytes:
    """A call behind a TTHeader with these blocks of text keys; `token`: its ACL block."""
    info = bytes([0, len(transforms)]) + transforms
    if token is not None:
        info += b"\x11" + struct.pack(">H", len(token)) + token
    for pairs in blocks:
        info += b"\x01" + struct.pack(">H", len(pairs))
        for text in (text for pair in pairs for text in pair):
            info += struct.pack(">H", len(text)) + text
    info += b"\x10\x00\x01\x00\x09\x00\x04ping"  # integer keys: the method
    return _framed(0x1000, info)


def theader(*blocks: Pairs, behind: bytes = b"") -> bytes:
    """The same behind a THeader; `behind` comes behind its blocks."""
    info = b"\x00\x00"
    for pairs in blocks:
        info += b"\x01" + _varint(len(pairs))
        for text in (text for pair in pairs for text in pair):
            info += _varint(len(text)) + text
    return _framed(0x0FFF, info + behind)


def dubbo(pairs: Sequence[tuple[str, str]], serialization: int = 2) -> bytes:
    """A two-way call of `a.S.m`; in another serialization than hessian2 its body is text."""
    if serialization != 2:
        body = b'"2.0.2"\n{"baggage":"env=dev"}'
    else:
        body = b"".join(_hessian(text) for text in ("2.0.2", "a.S", "1.0", "m", ""))
        body += b"H" + b"".join(_hessian(text) for pair in pairs for text in pair) + b"Z"
    return b"\xda\xbb" + bytes([0xC0 | serialization, 0]) + struct.pack(">QI", 9, len(body)) + body


def _hessian(text: str) -> bytes:
    assert text.isascii() and len(text) < 1024
    size = len(text)
    head = bytes([size]) if size < 32 else bytes([0x30 | size >> 8, size & 0xFF])
    return head + text.encode()


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _framed(magic: int, info: bytes) -> bytes:
    info += b"\0" * (-len(info) % 4)
    rest = struct.pack(">HHIH", magic, 0, 7, len(info) // 4) + info + MESSAGE
    return struct.pack(">I", len(rest)) + rest


def pairs_of(frame: bytes) -> list[tuple[bytes, bytes]]:
    """Every text header of a TTHeader or THeader, in order, as a reader of its own finds them."""
    tt = frame[4:6] == b"\x10\x00"
    end = 14 + 4 * int.from_bytes(frame[12:14], "big")
    at, found = 16 + frame[15], []

    def number(size: int) -> int:
        nonlocal at
        if tt:
            at += size
            return int.from_bytes(frame[at - size : at], "big")
        value = shift = 0
        while True:
            byte, at = frame[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text() -> bytes:
        nonlocal at
        size = number(2)
        at += size
        return frame[at - size : at]

    while at < end:
        block = number(1)
        if block == 1:
            for _ in range(number(2)):
                name = text()
                found.append((name, text()))
        elif tt and block == 0x10:
            for _ in range(number(2)):
                number(2)
                text()
        elif tt and block == 0x11:
            text()
        elif not tt:
            break
    return found


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        while frame := read_frame(self.request):
            server.seen.append(frame)
            self.request.sendall(reply_to(frame))


def reply_to(frame: bytes) -> bytes:
    if frame[:2] == b"\xda\xbb":
        return b"\xda\xbb\x02\x14" + frame[4:12] + b"\x00\x00\x00\x01\x92"
    magic = int.from_bytes(frame[4:6], "big")
    if magic not in (0x1000, 0x0FFF):
        return struct.pack(">I", len(REPLY)) + REPLY
    rest = struct.pack(">HHIH", magic, 0, 7, 1) + b"\0\0\0\0" + REPLY
    return struct.pack(">I", len(rest)) + rest


class FrameServer(socketserver.ThreadingTCPServer):
    """Answers calls of Thrift in frames and of Dubbo; `seen` is what came."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.seen: list[bytes] = []
        self.port = port
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


def read_frame(sock: socket.socket) -> bytes:
    """A frame of Thrift or Dubbo; empty at the end."""
    frame, want, sized = b"", 4, False
    while len(frame) < want:
        more = sock.recv(want - len(frame))
        if not more:
            return b""
        frame += more
        if len(frame) == 4 and frame[:2] == b"\xda\xbb":
            want = 16
        elif len(frame) == want and not sized:
            sized = True
            want += int.from_bytes(frame[-4:], "big")
    return frame

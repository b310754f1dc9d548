"""Dubbo calls around hessian2 values that others wrote."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

GOLDEN_VALUES = Path(__file__).with_name("golden") / "dubbo" / "values.txt"
MARK = ("behind", "the arguments")


class Body(NamedTuple):
    """Values one behind the other, as a writer wrote them and a full reader read them."""

    seed: int
    ends: tuple[int, ...]
    data: bytes


def parse(line: str) -> Body | None:
    """A line of `interop.Values`; None where hessian-lite's own reader does not read its writer."""
    seed, ends, *data = line.split()
    if ends == "-":
        return None
    return Body(int(seed), tuple(map(int, ends.split(","))), bytes.fromhex(data[0]))


def text(value: str) -> bytes:
    """A string of fewer than 1,024 characters of the basic plane."""
    length = len(value)
    head = bytes([length]) if length < 32 else bytes([0x30 + (length >> 8), length & 0xFF])
    return head + value.encode()


def call(arguments: bytes, count: int) -> bytes:
    """A call with so many arguments, and with one attachment, MARK."""
    names = ("2.0.2", "a.Service", "1.0.0", "method", "Ljava/lang/Object;" * count)
    attachments = b"H" + text(MARK[0]) + text(MARK[1]) + b"Z"
    body = b"".join(map(text, names)) + arguments + attachments
    return b"\xda\xbb\xc2\x00" + bytes(8) + len(body).to_bytes(4, "big") + body

"""The 127.N.0.0/16 that a mesh has for itself, held as long as `meltemi up` runs.

The lock is a listening socket at the far end of the subnet: the kernel gives it to one process, of
whatever user, and takes it back when that process ends."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK_PORT = 15009
FIRST, LAST = 1, 254


class NoSubnet(Exception):
    """Every 127.N.0.0/16 is held by another mesh."""


class Subnet:
    """Holds `127.N` until `close`."""

    def __init__(self, number: int, held: socket.socket) -> None:
        self.prefix = f"127.{number}"
        self._held = held

    @classmethod
    def take(cls, directory: Path, preferred: str | None = None) -> Subnet:
        """Takes `preferred` (`127.N`) if it is free, else the directory's own or the next.

        Raises NoSubnet."""
        for number in _candidates(directory, preferred):
            held = _bind(f"127.{number}.255.254")
            if held is not None:
                return cls(number, held)
        raise NoSubnet("every address range 127.N.0.0/16 is held by a running mesh")

    def close(self) -> None:
        self._held.close()


def _candidates(directory: Path, preferred: str | None) -> Iterator[int]:
    if preferred is not None:
        yield int(preferred.split(".")[1])
    size = LAST - FIRST + 1
    start = int.from_bytes(hashlib.sha256(str(directory).encode()).digest()[:4], "big")
    for step in range(size):
        yield FIRST + (start + step) % size


def _bind(address: str) -> socket.socket | None:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        held.bind((address, LOCK_PORT))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held

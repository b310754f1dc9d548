"""Loopback addresses of one mesh: each key keeps its address over restarts.

A mesh has a `127.N.0.0/16` of its own. An address is the hash of its key, or the next free one
behind it, so that most survive even when what was handed out is forgotten; the control plane
persists `taken`, so that all survive."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

RESERVED = frozenset({0x0000, 0x0001, 0xFFFE, 0xFFFF})
"""Host parts never handed out: the ends of the range, and what the mesh itself binds."""

_SIZE = 1 << 16


class OutOfAddresses(Exception):
    """The /16 of the mesh is used up."""


class Addresses:
    """Hands out the addresses of `subnet` (`127.N`), one for each key.

    `taken` (key to address) is what an earlier run handed out; what is not in `subnet` or taken
    twice is not believed. Keys: `instance/NS/POD`, `host/NS/POD`, `service/NS/POD/HOSTNAME`."""

    def __init__(self, subnet: str = "127.1", taken: Mapping[str, str] | None = None) -> None:
        first, _, second = subnet.partition(".")
        if first != "127" or not second.isdigit() or not 0 <= int(second) <= 255:
            raise ValueError(f"subnet {subnet!r} is not of the form 127.N")
        self.subnet = f"127.{int(second)}"
        self._taken: dict[str, str] = {}
        self._used: set[int] = set(RESERVED)
        for key, address in (taken or {}).items():
            host = self._host(address)
            if host is not None and host not in self._used:
                self._used.add(host)
                self._taken[key] = address

    @property
    def taken(self) -> Mapping[str, str]:
        """Every key that has an address, in the order of the first request."""
        return MappingProxyType(self._taken)

    def address(self, key: str) -> str:
        """The address of `key`, the same each time. Raises OutOfAddresses."""
        known = self._taken.get(key)
        if known is not None:
            return known
        if len(self._used) >= _SIZE:
            raise OutOfAddresses(f"all addresses of {self.subnet}.0.0/16 are taken")
        host = int.from_bytes(hashlib.sha256(key.encode()).digest()[:2], "big")
        while host in self._used:
            host = (host + 1) % _SIZE
        self._used.add(host)
        address = f"{self.subnet}.{host >> 8}.{host & 0xFF}"
        self._taken[key] = address
        return address

    def keep(self, keys: frozenset[str]) -> None:
        """Frees the address of every key that is not in `keys`."""
        for key in [key for key in self._taken if key not in keys]:
            host = self._host(self._taken.pop(key))
            if host is not None:
                self._used.discard(host)

    def _host(self, address: str) -> int | None:
        prefix, _, rest = address.rpartition(".")
        prefix, _, third = prefix.rpartition(".")
        if prefix != self.subnet or not (third.isdigit() and rest.isdigit()):
            return None
        host = (int(third) << 8) | int(rest)
        if address != f"{self.subnet}.{host >> 8}.{host & 0xFF}" or host >= _SIZE:
            return None
        return host

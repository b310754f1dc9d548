"""Names of services and the addresses that stand for them (Istio's NDS), for Kitex: it finds a
service's listener by its address, and never connects to it.

The address is the service's own where the mesh says one, else one of 240.0.0.0/4, which nobody
routes, by the hash of the hostname: the same in every mesh that has the service."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

from meltemi.model import Service
from meltemi.translate.endpoints import is_ip
from meltemi.xds import messages

FIRST: Final = 0xF000_0001
"""240.0.0.1"""
LAST: Final = 0xFFFF_FFFE
"""255.255.255.254"""

RESOURCE: Final = ""
"""The one table's name: Kitex asks for it by this name, others by none."""

Row = tuple[str, str, str, str, str]
"""Hostname, address, registry, name, namespace."""


def addresses(services: Iterable[Service]) -> dict[str, str]:
    """By hostname. No two services share one."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for service in services:
        own = next(filter(is_ip, service.addresses), "")
        if own and own not in taken:
            taken.add(own)
            found[service.hostname] = own
    for service in services:
        if service.hostname not in found:
            number = _hashed(service.hostname)
            while (address := str(ipaddress.IPv4Address(number))) in taken:
                number = number + 1 if number < LAST else FIRST
            taken.add(address)
            found[service.hostname] = address
    return found


def rows(services: Iterable[Service], known: Mapping[str, str]) -> tuple[Row, ...]:
    """All that the table of these services is made from."""
    return tuple(
        (
            service.hostname,
            known[service.hostname],
            "External" if service.external else "Kubernetes",
            service.name,
            service.namespace,
        )
        for service in services
    )


def name_table(of: tuple[Row, ...]) -> Any:
    """Istio's NameTable."""
    return messages.message("istio.networking.nds.v1.NameTable")(
        table={
            hostname: {
                "ips": [address],
                "registry": registry,
                "shortname": name,
                "namespace": namespace,
            }
            for hostname, address, registry, name, namespace in of
        }
    )


@functools.lru_cache(maxsize=16_384)
def _hashed(hostname: str) -> int:
    digest = hashlib.sha256(hostname.encode()).digest()
    return FIRST + int.from_bytes(digest[:8], "big") % (LAST - FIRST + 1)

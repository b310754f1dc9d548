"""Under which name a target's listener is asked for, and what it will probably need.

As a gRPC client it is the target as written, and the server knows what short names mean. As a
sidecar (what Kitex does) a listener has the address that the name table says of the host:
`10.96.0.7_9080`, or `0.0.0.0_9080` where it is shared by the hosts of a port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meltemi.proxyless.options import Options
from meltemi.proxyless.target import Target
from meltemi.xds.messages import CLUSTER, ROUTE
from meltemi.xds.references import Reference

Table = Mapping[str, tuple[str, ...]]
"""Addresses by host."""


def table_of(message: Any) -> Table:
    """From `istio.networking.nds.v1.NameTable`."""
    return {host.lower().rstrip("."): tuple(info.ips) for host, info in message.table.items()}


def full_names(host: str, options: Options) -> Iterator[str]:
    """What a host may mean, the most likely first: as Kubernetes' name service reads it."""
    suffix = f".svc.{options.domain}"
    if host.endswith(suffix):
        yield host
        return
    labels = host.split(".")
    if len(labels) == 1:
        yield f"{host}.{options.namespace}{suffix}"
    elif len(labels) == 2:
        yield f"{host}{suffix}"
    elif len(labels) == 3 and labels[-1] == "svc":
        yield f"{host}.{options.domain}"
    yield host


def guesses(target: Target, options: Options) -> tuple[Reference, ...]:
    """The route and cluster that a service's listener names, where nothing unusual is said of it:
    asked for together with the listener, they cost no round trips of their own."""
    name = f"outbound|{target.port}||{next(full_names(target.host, options))}"
    return ((ROUTE, name), (CLUSTER, name))


def candidates(target: Target, table: Table, options: Options) -> tuple[str, ...]:
    """As a sidecar: the names that the target's listener may have, the best first. A host without
    an address may still be one of those that share a port."""
    for host in full_names(target.host, options):
        if host in table:
            addressed = [f"{ip}_{target.port}" for ip in table[host]]
            return (*addressed, f"0.0.0.0_{target.port}")
    return (f"0.0.0.0_{target.port}",)

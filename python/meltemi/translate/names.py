"""Names of resources: Istio's and Aeraki's, which people know from their dashboards."""

from __future__ import annotations


def outbound(port: int, subset: str, hostname: str) -> str:
    """A cluster that a caller sends to: `outbound|PORT|SUBSET|HOST`."""
    return f"outbound|{port}|{subset}|{hostname}"


def inbound(port: int, hostname: str = "") -> str:
    """The cluster of the application behind a sidecar: `inbound|PORT||`."""
    return f"inbound|{port}||{hostname}"


def route(hostname: str, port: int) -> str:
    """The routes of a service's port, as Aeraki names them: `HOST_PORT`."""
    return f"{hostname}_{port}"


def listener(address: str, port: int) -> str:
    """A listener, as Istio names one with an address of its own: `IP_PORT`."""
    return f"{address}_{port}"


def kitex_route(hostname: str, port: int) -> str:
    """The routes of a service's port, as Istio names them for who sniffs its protocol."""
    return f"{hostname}:{port}"

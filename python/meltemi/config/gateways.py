"""`Gateway` as the model has it, and what VirtualServices say of gateways."""

from __future__ import annotations

from typing import Final

from meltemi.config.check import Object
from meltemi.config.rules.gateway import refusal
from meltemi.config.schema.gateway import GatewaySpec, Server
from meltemi.config.schema.types import pairs
from meltemi.model import Gateway, GatewayServer

MESH: Final = "mesh"
"""The gateway that stands for all callers inside the mesh."""


def gateway(item: Object) -> Gateway:
    spec: GatewaySpec = item.spec
    namespace = item.ref.namespace
    return Gateway(
        namespace,
        item.ref.name,
        pairs(spec.selector),
        tuple(_server(each, namespace) for each in spec.servers or ()),
    )


def _server(server: Server, namespace: str) -> GatewayServer:
    return GatewayServer(
        server.port.number,
        tuple(_host(host, namespace) for host in server.hosts),
        bool(server.tls and server.tls.https_redirect),
        refusal(server.port.protocol.lower()),
    )


def _host(host: str, namespace: str) -> tuple[str, str]:
    """`HOST` takes the VirtualServices of every namespace."""
    wanted, slash, name = host.lower().rpartition("/")
    return (namespace if wanted == "." else wanted if slash else "*"), name


def full_name(gateway: str, namespace: str) -> str:
    """`NAMESPACE/NAME` of what a VirtualService of `namespace` calls a gateway: `NAME`,
    `NAMESPACE/NAME`, `./NAME`, or as long ago `NAME.NAMESPACE.svc.cluster.local`."""
    if "/" in gateway:
        own, _, name = gateway.partition("/")
        return f"{namespace if own == '.' else own}/{name}"
    name, dot, rest = gateway.partition(".")
    return f"{rest.partition('.')[0] if dot else namespace}/{name}"


def full_names(gateways: list[str] | None, namespace: str) -> tuple[str, ...]:
    """Of all but `mesh`."""
    return tuple(full_name(each, namespace) for each in gateways or () if each != MESH)

"""A small mesh as values, and the resources of a node of it as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from meltemi.model import (
    Destination,
    DestinationRule,
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    MetaRoute,
    MetaRouter,
    Service,
    ServicePort,
    StringMatch,
    Subset,
    VirtualService,
    WeightedDestination,
    Workload,
    WorkloadPort,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client, Node

NAMESPACE = "meta-thrift"
HOST = "server.meta-thrift.svc.cluster.local"
VIP = "127.9.3.1"
THRIFT_PORT = ServicePort(9090, "tcp-metaprotocol-thrift-hello", "thrift", 9090)
TCP_PORT = ServicePort(7000, "tcp-raw", "tcp", 7001)

IDENTITY: Mapping[Client, dict[str, Any]] = {
    Client.SIDECAR: {"metadata": {"MELTEMI_CLIENT": "sidecar"}},
    Client.SDK: {"metadata": {"MELTEMI_CLIENT": "sdk"}},
    Client.GRPC: {"metadata": {"GENERATOR": "grpc"}},
    Client.ENVOY: {"user_agent_name": "envoy"},
    Client.KITEX: {},
}


def workload(name: str, ordinal: int, version: str = "", **changes: Any) -> Workload:
    """Replica 0 advertises 127.9.1.ORDINAL and has its application at 127.9.2.ORDINAL."""
    labels = (("app", name.rsplit("-v", 1)[0]),) + ((("version", version),) if version else ())
    instance = Instance(0, f"127.9.1.{ordinal}", f"127.9.2.{ordinal}")
    made = Workload(NAMESPACE, name, labels, mode=MeshMode.SIDECAR, instances=(instance,))
    return dataclasses.replace(made, **changes)


SERVERS = tuple(
    workload(
        f"server-v{n}", n, f"v{n}", ports=(WorkloadPort("tcp-metaprotocol-thrift", 9090, None),)
    )
    for n in (1, 2)
)
CLIENT = workload("client", 3, instances=(Instance(0, "127.9.1.3", "127.9.2.3", ((HOST, VIP),)),))


def endpoint(of: Workload, port: int = 9090, **changes: Any) -> Endpoint:
    made = Endpoint(of.instances[0].address, port, of.labels, workload=f"{of.namespace}/{of.name}")
    return dataclasses.replace(made, **changes)


def service(hostname: str = HOST, **changes: Any) -> Service:
    name, namespace = hostname.split(".")[:2]
    made = Service(
        hostname,
        namespace,
        name,
        (THRIFT_PORT,),
        endpoints=((9090, tuple(endpoint(server) for server in SERVERS)),),
    )
    return dataclasses.replace(made, **changes)


def rule(host: str = HOST, **changes: Any) -> DestinationRule:
    subsets = tuple(Subset(f"v{n}", (("version", f"v{n}"),)) for n in (1, 2))
    made = DestinationRule(NAMESPACE, "server", host, subsets=subsets)
    return dataclasses.replace(made, **changes)


def route(name: str, *subsets: tuple[str, int], **match: tuple[str, str]) -> MetaRoute:
    """`method=("exact", "sayHello")` is one condition."""
    conditions = tuple((key, StringMatch(*condition)) for key, condition in match.items())  # type: ignore[arg-type]
    to = tuple(WeightedDestination(Destination(HOST, subset), weight) for subset, weight in subsets)
    return MetaRoute(name, conditions, to)


def router(*routes: MetaRoute, **changes: Any) -> MetaRouter:
    return dataclasses.replace(MetaRouter(NAMESPACE, "rule", HOST, routes), **changes)


def mesh(*parts: Service | DestinationRule | MetaRouter | VirtualService | Workload) -> Mesh:
    """The workloads and `parts`; the service and the rule where `parts` has none."""

    def of(kind: type[Any]) -> tuple[Any, ...]:
        return tuple(part for part in parts if isinstance(part, kind))

    services = of(Service) or (service(),)
    return Mesh(
        services={service.hostname: service for service in services},
        destination_rules=of(DestinationRule),
        meta_routers=of(MetaRouter),
        virtual_services=of(VirtualService),
        workloads=of(Workload) or (*SERVERS, CLIENT),
    )


def node(of: Workload = CLIENT, client: Client = Client.SIDECAR) -> Node:
    return Node.of(of.node_id(of.instances[0]), **IDENTITY[client])


def stranger(node_id: str, client: Client = Client.ENVOY) -> Node:
    return Node.of(node_id, **IDENTITY[client])


def resources(of: Mesh, to: Node) -> dict[str, dict[str, Any]]:
    """As JSON with the names of the .proto: by the type's last word, then by name."""
    return {
        type_url.rpartition(".")[2]: {
            name: messages.any_to_json(type_url, resource.body) for name, resource in named.items()
        }
        for type_url, named in Translator().resources(of, to).items()
    }


def routes(of: Mesh, to: Node | None = None, name: str = f"{HOST}_9090") -> list[dict[str, Any]]:
    configuration = resources(of, to or node())["RouteConfiguration"][name]
    (virtual_host,) = configuration["virtual_hosts"]
    assert virtual_host["name"] == "dummy"
    assert virtual_host["domains"] == ["*"]
    found: list[dict[str, Any]] = virtual_host["routes"]
    return found


def network_filter(listener: dict[str, Any]) -> dict[str, Any]:
    (chain,) = listener["filter_chains"]
    (found,) = chain["filters"]
    assert isinstance(found, dict)
    return found

"""A mesh with one of each thing that a resource can hold."""

from __future__ import annotations

from collections.abc import Callable

from meltemi.model import (
    ConnectionPool,
    Destination,
    DestinationRule,
    Endpoint,
    Instance,
    LoadBalancer,
    Mesh,
    MeshMode,
    MetaRoute,
    MetaRouter,
    Resolution,
    Service,
    ServicePort,
    StringMatch,
    Subset,
    TrafficPolicy,
    WeightedDestination,
    Workload,
    WorkloadPort,
)

NAMESPACE = "shop"
HOST = "hello.shop.svc.cluster.local"
FreePort = Callable[[], int]


def to(name: str, *versions: tuple[str, int], **match: StringMatch) -> MetaRoute:
    destinations = (WeightedDestination(Destination(HOST, v), weight) for v, weight in versions)
    return MetaRoute(name, tuple(match.items()), tuple(destinations))


def exact(value: str) -> StringMatch:
    return StringMatch("exact", value)


def everything(free_port: FreePort) -> Mesh:
    """One of each thing that a resource for Envoy can hold."""
    known = Endpoint("127.0.0.1", 1, (("version", "v1"),), 3, "eu/a/rack1", f"{NAMESPACE}/server")
    other = Endpoint("::1", 2, (("version", "v2"),), 1, "us")
    pool = ConnectionPool(max_connections=3, connect_timeout_s=0.5, idle_timeout_s=2)
    ports = tuple(
        ServicePort(free_port(), name, protocol, 1)
        for name, protocol in (("thrift", "thrift"), ("dubbo", "dubbo"), ("tcp", "tcp"))
    )
    members = tuple((port.number, (known, other)) for port in ports)

    def named(name: str, resolution: Resolution, *endpoints: Endpoint) -> Service:
        port = ServicePort(free_port(), "tcp", "tcp", 1)
        at = ((port.number, endpoints),) if endpoints else ()
        return Service(name, NAMESPACE, name, (port,), resolution, endpoints=at, external=True)

    services = (
        Service(HOST, NAMESPACE, "hello", ports, endpoints=members),
        named("localhost", Resolution.DNS),
        named("round.example.com", Resolution.DNS_ROUND_ROBIN, Endpoint("localhost", 1)),
        named("none.example.com", Resolution.NONE),
        named("empty.example.com", Resolution.STATIC),
        named("unix.example.com", Resolution.STATIC, Endpoint("unix:///tmp/no.sock", 0)),
    )
    subsets = (
        Subset("v1", (("version", "v1"),), TrafficPolicy(LoadBalancer.RANDOM, pool)),
        Subset("v2", (("version", "v2"),), TrafficPolicy(unsafe="tls is not there yet")),
        Subset("v3", (("version", "v3"),), TrafficPolicy(LoadBalancer.PASSTHROUGH)),
    )
    routes = (
        to("split", ("v1", 0), ("v2", 30), ("nowhere", 70), method=exact("a"), lane=exact("b")),
        to("present", ("v1", 0), lane=StringMatch("present")),
        to("regex", ("v1", 0), lane=StringMatch("regex", "a|b.*"), service=exact("Hello")),
        to("prefix", ("v1", 0), lane=StringMatch("prefix", "a"), method=StringMatch("present")),
        to("cannot", ("v1", 0), method=StringMatch("regex", "s.*")),
        MetaRoute(
            "mutates",
            (),
            (WeightedDestination(Destination("x.y", "", 9), 0),),
            (("foo", "bar"),),
            (("foo", "bar"),),
        ),
    )
    server = Workload(
        NAMESPACE,
        "server",
        (("version", "v1"),),
        ports=(
            WorkloadPort("thrift", free_port(), free_port()),
            WorkloadPort("tcp", free_port(), free_port()),
        ),
        mode=MeshMode.SIDECAR,
        instances=(
            Instance(
                0,
                "127.0.0.5",
                "127.0.0.6",
                tuple((service.hostname, "127.0.0.7") for service in services),
            ),
        ),
    )
    return Mesh(
        services={service.hostname: service for service in services},
        destination_rules=(DestinationRule(NAMESPACE, "hello", HOST, subsets=subsets),),
        meta_routers=(MetaRouter(NAMESPACE, "hello", HOST, routes),),
        workloads=(server,),
    )

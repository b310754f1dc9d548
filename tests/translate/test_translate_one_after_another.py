"""A translator that saw other meshes before gives what a new one gives."""

from __future__ import annotations

import random
from dataclasses import replace
from types import MappingProxyType

import pytest
from meltemi.model import (
    ApplicationProtocol,
    Destination,
    DestinationRule,
    Endpoint,
    Instance,
    Mesh,
    MetaRoute,
    MetaRouter,
    Service,
    ServicePort,
    Subset,
    WeightedDestination,
    Workload,
    WorkloadPort,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Node

NAMESPACES = ("a", "b", "istio-system")
KINDS = ("sidecar", "sdk")
EXPORTS: tuple[tuple[str, ...], ...] = ((), ("*",), (".",), ("b",))


def host(n: int) -> str:
    return f"s{n}.{NAMESPACES[n % 2]}.svc.cluster.local"


def service(n: int, rng: random.Random) -> Service:
    name = rng.choice(("tcp-metaprotocol-thrift", "tcp-x", "own"))
    protocol = {"tcp-x": "tcp", "own": "own"}.get(name, "thrift")
    labels = (("version", rng.choice(("v1", "v2"))),)
    endpoints = tuple(
        Endpoint(f"10.0.{n}.{k}", 9090, labels, workload=f"{NAMESPACES[0]}/w{k}")
        for k in range(rng.randrange(3))
    )
    port = ServicePort(9090, name, protocol, 9090)
    place = NAMESPACES[n % 2]
    exported = rng.choice(EXPORTS)
    return Service(
        host(n), place, f"s{n}", (port,), export_to=exported, endpoints=((9090, endpoints),)
    )


def rule(n: int, rng: random.Random) -> DestinationRule:
    whose = rng.choice((host(n), host(n), host(n), "*.svc.cluster.local"))
    subsets = (Subset("v1", (("version", "v1"),)),) if rng.random() < 0.7 else ()
    place = rng.choice(NAMESPACES)
    return DestinationRule(place, f"d{n}", whose, subsets=subsets, export_to=rng.choice(EXPORTS))


def router(n: int, rng: random.Random) -> MetaRouter:
    to = Destination(host(rng.randrange(6)), rng.choice(("", "v1")))
    routes = (MetaRoute("r", (), (WeightedDestination(to, 100),)),)
    place = rng.choice(NAMESPACES)
    return MetaRouter(place, f"r{n}", host(n), routes, rng.choice(EXPORTS))


def workload(n: int, rng: random.Random) -> Workload:
    calls = tuple((host(s), f"127.1.{n}.{s + 1}") for s in range(6) if rng.random() < 0.8)
    instance = Instance(0, f"127.2.0.{n + 1}", f"127.3.0.{n + 1}", calls)
    ports = (WorkloadPort("tcp-metaprotocol-thrift", 9090),)
    return Workload(NAMESPACES[n % 2], f"w{n}", (), ports=ports, instances=(instance,))


def changed(mesh: Mesh, rng: random.Random) -> Mesh:
    """One part of it is another, came or went."""
    n = rng.randrange(6)
    match rng.randrange(6):
        case 0 | 1:
            routers = [each for each in mesh.meta_routers if each.name != f"r{n}"]
            if rng.random() < 0.8:
                routers.append(router(n, rng))
            routers.sort(key=lambda each: (each.namespace, each.name))
            return replace(mesh, meta_routers=tuple(routers))
        case 2:
            rules = [each for each in mesh.destination_rules if each.name != f"d{n}"]
            if rng.random() < 0.6:
                rules.append(rule(n, rng))
            rules.sort(key=lambda each: (each.namespace, each.name))
            return replace(mesh, destination_rules=tuple(rules))
        case 3:
            services = {**mesh.services}
            services.pop(host(n), None)
            if rng.random() < 0.8:
                services[host(n)] = service(n, rng)
            return replace(mesh, services=MappingProxyType(services))
        case 4:
            workloads = [each for each in mesh.workloads if each.name != f"w{n % 3}"]
            if rng.random() < 0.8:
                workloads.append(workload(n % 3, rng))
            return replace(mesh, workloads=tuple(sorted(workloads, key=lambda each: each.name)))
        case _:
            codec = "aeraki.meta_protocol.codec.thrift"
            own = () if mesh.application_protocols else (ApplicationProtocol("own", codec),)
            return replace(mesh, application_protocols=own)


def nodes(mesh: Mesh) -> list[Node]:
    ids = [each.node_id(each.instances[0]) for each in mesh.workloads]
    ids += [f"sidecar~10.9.9.9~x-0.{place}~{place}.svc.cluster.local" for place in NAMESPACES]
    return [Node.of(each, metadata={"MELTEMI_CLIENT": kind}) for each in ids for kind in KINDS]


@pytest.mark.parametrize("seed", range(30))
def test_what_a_node_gets_does_not_depend_on_the_meshes_before(seed: int) -> None:
    rng = random.Random(seed)
    translator, mesh = Translator(), Mesh()
    for _ in range(25):
        asking = [node for node in nodes(mesh) if rng.random() < 0.7]
        for node in asking:
            given, expected = translator.resources(mesh, node), Translator().resources(mesh, node)
            for type_url, named in expected.items():
                assert given[type_url] == named, (node.id, type_url)
                assert type_url != messages.CLUSTER or list(given[type_url]) == list(named)
        mesh = changed(mesh, rng)

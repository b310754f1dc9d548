"""Clusters that balance by hash, and what the routes that lead to them hash."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import (
    ConsistentHash,
    Destination,
    LoadBalancer,
    Mesh,
    MetaRoute,
    Subset,
    TrafficPolicy,
    WeightedDestination,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client
from sample_mesh import CLIENT, HOST, mesh, node, resources, route, router, routes, rule, service

OTHER = "other.meta-thrift.svc.cluster.local"
METHOD = ConsistentHash("Method", minimum_ring_size=1024)
CALLER = ConsistentHash(source_ip=True)
BY_METHOD = {"header": {"header_name": "Method"}}
BY_CALLER = {"connection_properties": {"source_ip": True}}


def policy(balancer: ConsistentHash | LoadBalancer) -> TrafficPolicy:
    return TrafficPolicy(load_balancer=balancer)


def subset(name: str, balancer: ConsistentHash | None) -> Subset:
    made = policy(balancer) if balancer else TrafficPolicy()
    return Subset(name, (("version", name),), made)


def balancing(balancer: ConsistentHash, client: Client = Client.SIDECAR) -> dict[str, Any]:
    of = mesh(rule(policy=policy(balancer)))
    made = resources(of, node(CLIENT, client))["Cluster"][f"outbound|9090||{HOST}"]
    return {key: value for key, value in made.items() if key.startswith(("lb_", "ring", "maglev"))}


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        (
            METHOD,
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "1024"}},
        ),
        (CALLER, {"lb_policy": "RING_HASH"}),
        (
            ConsistentHash("a", table_size=251),
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "251"}},
        ),
        (
            ConsistentHash("a", minimum_ring_size=2**40),
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "8388608"}},
        ),
    ],
)
def test_a_cluster_says_its_policy_as_istio_writes_it(
    balancer: ConsistentHash, expected: dict[str, Any]
) -> None:
    for client in (Client.SIDECAR, Client.ENVOY, Client.KITEX):
        assert balancing(balancer, client) == expected


def test_a_grpc_client_gets_nothing_that_it_refuses() -> None:
    assert balancing(METHOD, Client.GRPC) == {}  # ROUND_ROBIN is the 0
    of = mesh(rule(policy=policy(METHOD)))
    assert "hash_policy" not in routes(of, node(CLIENT, Client.GRPC))[0]["route"]


def test_the_default_route_hashes_what_the_rule_of_the_host_says() -> None:
    (made,) = routes(mesh(rule(policy=policy(METHOD))))
    assert made["route"]["hash_policy"] == [BY_METHOD]
    (made,) = routes(mesh(rule(policy=policy(LoadBalancer.RANDOM))))
    assert "hash_policy" not in made["route"]
    (made,) = routes(mesh(rule(policy=policy(ConsistentHash()))))
    assert "hash_policy" not in made["route"]


def test_a_route_hashes_what_the_subset_that_it_leads_to_says() -> None:
    subsets = (subset("v1", CALLER), subset("v2", None))
    of = mesh(
        rule(policy=policy(METHOD), subsets=subsets),
        router(route("a", ("v1", 1)), route("b", ("v2", 1)), route("c", ("gone", 1))),
    )
    policies = [each["route"].get("hash_policy") for each in routes(of)]
    assert policies == [[BY_CALLER], [BY_METHOD], None]


def test_a_split_hashes_the_key_of_each_destination_that_gets_requests_once() -> None:
    keys = (("v1", METHOD), ("v2", METHOD), ("v3", CALLER), ("v4", ConsistentHash("zero")))
    subsets = tuple(subset(*key) for key in keys)
    split = route("split", ("v1", 50), ("v2", 30), ("v3", 20), ("v4", 0))
    (made,) = routes(mesh(rule(subsets=subsets), router(split)))
    assert made["route"]["hash_policy"] == [BY_METHOD, BY_CALLER]


def leads_elsewhere(balancer: ConsistentHash | LoadBalancer | None) -> Mesh:
    to = (WeightedDestination(Destination(OTHER), 100),)
    rules = [rule(OTHER, policy=policy(balancer))] if balancer else []
    return mesh(service(), service(OTHER), router(MetaRoute("r", (), to)), *rules)


def test_a_route_to_another_host_hashes_what_the_rule_of_that_host_says() -> None:
    assert routes(leads_elsewhere(METHOD))[0]["route"]["hash_policy"] == [BY_METHOD]


def test_routes_follow_the_rules_of_other_hosts_when_those_change() -> None:
    translator = Translator()
    last = leads_elsewhere(None)
    changes: list[tuple[ConsistentHash | LoadBalancer | None, list[dict[str, Any]]]] = [
        (None, []),
        (METHOD, [BY_METHOD]),
        (CALLER, [BY_CALLER]),
        (LoadBalancer.RANDOM, []),
        (METHOD, [BY_METHOD]),
        (None, []),
    ]
    for balancer, expected in changes:
        new = leads_elsewhere(balancer)
        # What did not change is the same object, as the control plane has it.
        last = dataclasses.replace(last, destination_rules=new.destination_rules)
        made = translator.resources(last, node())[messages.ROUTE][f"{HOST}_9090"]
        (host,) = messages.any_to_json(messages.ROUTE, made.body)["virtual_hosts"]
        assert host["routes"][0]["route"].get("hash_policy", []) == expected

"""Clusters and endpoints: one for each port and subset, with the policy that Istio would merge."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import (
    ConnectionPool,
    Endpoint,
    LoadBalancer,
    Mesh,
    Resolution,
    Subset,
    TrafficPolicy,
)
from meltemi.xds.resource import Client, Node
from sample_mesh import (
    CLIENT,
    HOST,
    NAMESPACE,
    SERVERS,
    TCP_PORT,
    THRIFT_PORT,
    endpoint,
    mesh,
    node,
    resources,
    rule,
    service,
)

RANDOM = TrafficPolicy(load_balancer=LoadBalancer.RANDOM)
ROUND_ROBIN = TrafficPolicy(load_balancer=LoadBalancer.ROUND_ROBIN)
LIMITED = TrafficPolicy(connection_pool=ConnectionPool(max_connections=5))
SUBSET = Subset("v1", (("version", "v1"),))


def clusters(of: Mesh, client: Client = Client.SIDECAR) -> dict[str, Any]:
    return resources(of, node(CLIENT, client))["Cluster"]


def cluster(of: Mesh, subset: str = "", client: Client = Client.SIDECAR) -> dict[str, Any]:
    found = clusters(of, client)[f"outbound|9090|{subset}|{HOST}"]
    assert isinstance(found, dict)
    return found


def assignment(of: Mesh, subset: str = "", client: Client = Client.SIDECAR) -> dict[str, Any]:
    made = resources(of, node(CLIENT, client))["ClusterLoadAssignment"]
    found = made[f"outbound|9090|{subset}|{HOST}"]
    assert isinstance(found, dict)
    return found


def addresses(of: dict[str, Any]) -> list[str]:
    return [
        each["endpoint"]["address"]["socket_address"]["address"]
        for locality in of.get("endpoints", ())
        for each in locality["lb_endpoints"]
    ]


def policy_of(of: Mesh, subset: str = "") -> str:
    return str(cluster(of, subset).get("lb_policy", "ROUND_ROBIN"))  # ROUND_ROBIN is the 0


def test_each_port_with_each_subset_is_a_cluster() -> None:
    made = clusters(mesh(service(ports=(THRIFT_PORT, TCP_PORT)), rule()))
    expected = {f"outbound|{p}|{s}|{HOST}" for p in (9090, 7000) for s in ("", "v1", "v2")}
    assert set(made) == expected


def test_endpoints_come_over_the_same_stream_and_are_waited_for() -> None:
    made = cluster(mesh())
    assert made["type"] == "EDS"
    assert made["eds_cluster_config"] == {
        "service_name": f"outbound|9090||{HOST}",
        "eds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
    }


def test_without_a_policy_istios_defaults_hold() -> None:
    made = cluster(mesh())
    assert (made["lb_policy"], made["connect_timeout"]) == ("LEAST_REQUEST", "10s")
    assert "circuit_breakers" not in made
    assert "typed_extension_protocol_options" not in made


def test_a_connection_pool_sets_limits_and_timeouts() -> None:
    pool = ConnectionPool(max_connections=5, connect_timeout_s=0.25, idle_timeout_s=3)
    made = cluster(mesh(service(), rule(policy=TrafficPolicy(connection_pool=pool))))
    assert made["connect_timeout"] == "0.250s"
    assert made["circuit_breakers"] == {"thresholds": [{"max_connections": 5}]}
    options = made["typed_extension_protocol_options"]["meltemi.upstream"]
    assert options["idle_timeout"] == "3s"


def test_requests_that_may_share_a_connection_are_counted_for_each_cluster() -> None:
    policy = TrafficPolicy(connection_pool=ConnectionPool(max_in_flight=64))
    for made in clusters(mesh(service(), rule(policy=policy))).values():
        options = made["typed_extension_protocol_options"]["meltemi.upstream"]
        assert options["max_in_flight_per_connection"] == 64
        assert "idle_timeout" not in options


def test_options_of_our_own_are_for_our_engine_only() -> None:
    pool = ConnectionPool(max_connections=5, idle_timeout_s=3, max_in_flight=64)
    one = mesh(service(), rule(policy=TrafficPolicy(connection_pool=pool)))
    for client in (Client.ENVOY, Client.GRPC, Client.KITEX):
        assert "typed_extension_protocol_options" not in cluster(one, client=client)


def test_a_stock_envoy_is_freed_of_its_own_limits_as_istio_does() -> None:
    (limits,) = cluster(mesh(), client=Client.ENVOY)["circuit_breakers"]["thresholds"]
    assert limits["max_connections"] == limits["max_requests"] == 4294967295


def test_a_subset_overrides_the_rules_policy_part_by_part() -> None:
    wide = TrafficPolicy(LoadBalancer.RANDOM, ConnectionPool(max_connections=9))
    narrow = dataclasses.replace(SUBSET, policy=ROUND_ROBIN)
    one = mesh(service(), rule(policy=wide, subsets=(narrow,)))
    assert (policy_of(one), policy_of(one, "v1")) == ("RANDOM", "ROUND_ROBIN")
    limits = {"thresholds": [{"max_connections": 9}]}
    assert cluster(one, "v1")["circuit_breakers"] == limits


def test_a_ports_policy_replaces_the_rules_policy_and_inherits_nothing() -> None:
    one = mesh(service(), rule(policy=RANDOM, port_policies=((9090, LIMITED),)))
    assert policy_of(one) == "LEAST_REQUEST"
    assert cluster(one)["circuit_breakers"] == {"thresholds": [{"max_connections": 5}]}


def test_a_policy_of_another_port_does_not_hold() -> None:
    assert (
        policy_of(mesh(service(), rule(policy=RANDOM, port_policies=((1, LIMITED),)))) == "RANDOM"
    )


def test_a_subsets_policy_for_a_port_replaces_all_others() -> None:
    narrow = dataclasses.replace(SUBSET, policy=LIMITED, port_policies=((9090, ROUND_ROBIN),))
    one = mesh(service(), rule(policy=RANDOM, subsets=(narrow,)))
    assert policy_of(one, "v1") == "ROUND_ROBIN"
    assert "circuit_breakers" not in cluster(one, "v1")


def test_the_callers_own_namespace_decides_before_the_services() -> None:
    theirs = rule(policy=RANDOM)
    ours = rule(policy=ROUND_ROBIN, namespace="shop")
    caller = dataclasses.replace(CLIENT, namespace="shop")
    one = mesh(service(), ours, theirs, caller)
    assert (
        resources(one, node(caller))["Cluster"][f"outbound|9090||{HOST}"].get("lb_policy") is None
    )
    assert policy_of(one) == "RANDOM"


def test_the_root_namespace_decides_last() -> None:
    root = rule(policy=RANDOM, namespace="istio-system", host="*")
    assert policy_of(mesh(service(), root)) == "RANDOM"
    assert policy_of(mesh(service(), root, rule(policy=ROUND_ROBIN))) == "ROUND_ROBIN"


def test_a_rule_of_a_third_namespace_does_not_hold() -> None:
    assert policy_of(mesh(service(), rule(policy=RANDOM, namespace="third"))) == "LEAST_REQUEST"


def test_a_rule_that_is_not_exported_to_the_caller_does_not_hold() -> None:
    caller = dataclasses.replace(CLIENT, namespace="shop")
    one = mesh(service(), rule(policy=RANDOM, export_to=(".",)), caller)
    made = resources(one, node(caller))["Cluster"][f"outbound|9090||{HOST}"]
    assert made["lb_policy"] == "LEAST_REQUEST"


def test_the_most_specific_host_holds() -> None:
    wide = rule(policy=RANDOM, name="a", host="*.svc.cluster.local")
    narrower = rule(policy=ROUND_ROBIN, name="b", host=f"*.{NAMESPACE}.svc.cluster.local")
    exact = rule(policy=LIMITED, name="c")
    assert policy_of(mesh(service(), wide, narrower)) == "ROUND_ROBIN"
    assert policy_of(mesh(service(), wide, narrower, exact)) == "LEAST_REQUEST"


def test_rules_for_one_host_are_one_rule_whose_first_subset_and_policy_stay() -> None:
    first = rule(name="a", subsets=(SUBSET,))
    again = Subset("v1", (("version", "v2"),))
    more = Subset("v2", (("version", "v2"),))
    second = rule(name="b", policy=RANDOM, subsets=(again, more))
    third = rule(name="c", policy=ROUND_ROBIN, subsets=())
    one = mesh(service(), first, second, third)
    assert policy_of(one) == "RANDOM"
    assert addresses(assignment(one, "v1")) == [SERVERS[0].instances[0].address]
    assert addresses(assignment(one, "v2")) == [SERVERS[1].instances[0].address]


def test_a_cluster_names_its_rule_service_and_subset_as_istio_does() -> None:
    istio = cluster(mesh(service(), rule()), "v1")["metadata"]["filter_metadata"]["istio"]
    assert istio == {
        "config": "/apis/networking.istio.io/v1/namespaces/meta-thrift/destination-rule/server",
        "default_original_port": 9090,
        "services": [{"host": HOST, "name": "server", "namespace": NAMESPACE}],
        "subset": "v1",
    }


def test_what_cannot_be_called_safely_says_why_and_has_no_endpoints() -> None:
    reason = "tls mode SIMPLE is not there yet"
    one = mesh(service(), rule(policy=TrafficPolicy(unsafe=reason)))
    made = cluster(one)
    assert made["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert made["metadata"]["filter_metadata"]["meltemi"] == {"refuse": reason}
    for client in Client:
        assert addresses(assignment(one, client=client)) == []


def test_a_subset_that_says_plain_is_called_although_its_host_is_not() -> None:
    plain = dataclasses.replace(SUBSET, policy=TrafficPolicy(unsafe=""))
    one = mesh(service(), rule(policy=TrafficPolicy(unsafe="why"), subsets=(plain,)))
    assert "transport_socket" not in cluster(one, "v1")
    assert addresses(assignment(one, "v1")) != []


NAMED = service(endpoints=((9090, (Endpoint("db.example.com", 9090),)),), resolution=Resolution.DNS)


def test_the_engine_refuses_names_that_it_cannot_resolve() -> None:
    made = cluster(mesh(NAMED))
    assert made["type"] == "EDS"
    reason = made["metadata"]["filter_metadata"]["meltemi"]["refuse"]
    assert reason == "db.example.com is a name, and resolution DNS is not there yet"
    assert addresses(assignment(mesh(NAMED))) == []


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [(Resolution.DNS, "STRICT_DNS"), (Resolution.DNS_ROUND_ROBIN, "LOGICAL_DNS")],
)
def test_envoy_resolves_names_itself(resolution: Resolution, expected: str) -> None:
    one = mesh(dataclasses.replace(NAMED, resolution=resolution))
    made = cluster(one, client=Client.ENVOY)
    assert made["type"] == expected
    assert addresses(made["load_assignment"]) == ["db.example.com"]
    names = resources(one, node(CLIENT, Client.ENVOY))["ClusterLoadAssignment"]
    assert names == {}


def test_a_host_with_resolution_dns_and_no_endpoints_is_its_own_address() -> None:
    made = cluster(mesh(dataclasses.replace(NAMED, endpoints=())), client=Client.ENVOY)
    assert addresses(made["load_assignment"]) == [HOST]


def test_addresses_need_no_resolution_even_where_the_entry_says_dns() -> None:
    one = mesh(service(resolution=Resolution.DNS))
    assert len(addresses(assignment(one))) == 2
    assert "meltemi" not in cluster(one)["metadata"]["filter_metadata"]


def test_resolution_none_is_refused_rather_than_sent_astray() -> None:
    one = mesh(service(resolution=Resolution.NONE))
    assert "NONE" in cluster(one)["metadata"]["filter_metadata"]["meltemi"]["refuse"]
    assert addresses(assignment(one, client=Client.ENVOY)) == []


def test_a_service_is_there_only_for_namespaces_that_it_is_exported_to() -> None:
    private = service(export_to=(".",))
    caller = dataclasses.replace(CLIENT, namespace="shop")
    made = resources(mesh(private, caller), node(caller))
    assert made["Cluster"] == made["RouteConfiguration"] == made["ClusterLoadAssignment"] == {}


@pytest.mark.parametrize("claimed", [".", "*", "~", "", "nobody"])
def test_a_claimed_namespace_opens_nothing_that_is_not_exported_to_it(claimed: str) -> None:
    stranger = Node.of("x", metadata={"NAMESPACE": claimed, "MELTEMI_CLIENT": "sidecar"})
    for export_to in ((".",), ("~",), ("shop",)):
        assert resources(mesh(service(export_to=export_to)), stranger)["Cluster"] == {}


def test_a_subset_has_the_endpoints_that_carry_all_its_labels() -> None:
    labels = (("app", "server"), ("version", "v2"))
    one = mesh(service(), rule(subsets=(Subset("s", labels),)))
    assert addresses(assignment(one, "s")) == ["127.9.1.2"]


def test_a_subset_without_endpoints_is_empty_and_one_that_is_not_there_has_no_cluster() -> None:
    one = mesh(service(), rule(subsets=(Subset("v3", (("version", "v3"),)),)))
    assert "endpoints" not in assignment(one, "v3")
    assert f"outbound|9090|v4|{HOST}" not in clusters(one)


def test_an_endpoint_says_which_workload_it_is() -> None:
    (locality,) = assignment(mesh())["endpoints"]
    istio = [each["metadata"]["filter_metadata"]["istio"] for each in locality["lb_endpoints"]]
    assert istio == [
        {"workload": "server-v1;meta-thrift;server;v1;Kubernetes"},
        {"workload": "server-v2;meta-thrift;server;v2;Kubernetes"},
    ]


def test_endpoints_keep_their_weights_and_their_localities() -> None:
    members = (
        endpoint(SERVERS[0], weight=3, locality="eu/a/rack1"),
        endpoint(SERVERS[1], weight=0, locality="us"),
        Endpoint("10.0.0.1", 9090, locality="us"),
    )
    made = assignment(mesh(service(endpoints=((9090, members),))))["endpoints"]
    assert [each["locality"] for each in made] == [
        {"region": "eu", "zone": "a", "sub_zone": "rack1"},
        {"region": "us"},
    ]
    assert [each["load_balancing_weight"] for each in made] == [3, 2]
    weights = [e["load_balancing_weight"] for each in made for e in each["lb_endpoints"]]
    assert weights == [3, 1, 1]
    assert "metadata" not in made[1]["lb_endpoints"][1]


def test_grpc_gets_only_a_balancing_policy_that_it_has() -> None:
    one = mesh(service(), rule(policy=RANDOM))
    assert cluster(one, client=Client.GRPC).get("lb_policy", "ROUND_ROBIN") == "ROUND_ROBIN"


def test_every_replica_is_known_by_its_address() -> None:
    made = resources(mesh(), node())["Address"]
    assert set(made) == {"127.9.1.1", "127.9.1.2", "127.9.1.3"}
    assert made["127.9.1.2"]["workload"]["workload_name"] == "server-v2"
    assert made["127.9.1.2"]["workload"]["canonical_revision"] == "v2"

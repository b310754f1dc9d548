"""What each kind of client is told of lanes."""

from __future__ import annotations

import dataclasses
from typing import Any

from meltemi.lanes import mark_pattern, with_lanes
from meltemi.lanes.compile import Rules
from meltemi.model import (
    Destination,
    HttpDestination,
    HttpRoute,
    Lane,
    LaneGroup,
    LaneService,
    Mesh,
    OutlierDetection,
    TrafficPolicy,
    VirtualService,
)
from meltemi.xds import messages
from meltemi.xds.resource import Client
from sample_mesh import CLIENT, HOST, NAMESPACE, SERVERS, mesh, node, resources, rule, service

ROUTE = f"{HOST}_9090"
DEV = f"outbound|9090|lane-dev|{HOST}"
BASELINE = f"outbound|9090|lane-baseline|{HOST}"
PLAIN = f"outbound|9090||{HOST}"
# server-v2 is in the lane, server-v1 in none
GROUP = LaneGroup(NAMESPACE, "g", (LaneService(HOST),), "env", (Lane("dev", (("version", "v2"),)),))
OWN = VirtualService(
    NAMESPACE,
    "own",
    (HOST,),
    (HttpRoute("mine", (), (HttpDestination(Destination(HOST), 100),), timeout_s=3.0),),
)


def with_group(group: LaneGroup = GROUP, *parts: Any) -> Mesh:
    built = mesh(*parts)
    written = Rules(built.destination_rules, built.virtual_services, built.meta_routers)
    return dataclasses.replace(built, **with_lanes([group], built.services, written)._asdict())


def told(built: Mesh, client: Client, kind: str) -> dict[str, Any]:
    return resources(built, node(CLIENT, client))[kind.rpartition(".")[2]]


def routes_of(built: Mesh, client: Client, name: str) -> list[tuple[str, str]]:
    (host,) = told(built, client, messages.ROUTE)[name]["virtual_hosts"]
    return [(route["name"], route["route"]["cluster"]) for route in host["routes"]]


def tiers(built: Mesh, client: Client, name: str) -> list[tuple[int, list[str]]]:
    assignment = told(built, client, messages.ENDPOINT)[name]
    return [
        (
            group.get("priority", 0),
            [
                each["endpoint"]["address"]["socket_address"]["address"]
                for each in group["lb_endpoints"]
            ],
        )
        for group in assignment.get("endpoints", [])
    ]


def test_a_sidecar_goes_by_the_mark_wherever_thrift_has_it() -> None:
    built = with_group()
    assert routes_of(built, Client.SIDECAR, ROUTE) == [
        *(("lane-dev", DEV) for _ in range(3)),
        ("lane-baseline", BASELINE),
    ]
    (host,) = told(built, Client.SIDECAR, messages.ROUTE)[ROUTE]["virtual_hosts"]
    matched = [route["match"]["headers"][0] for route in host["routes"][:3]]
    assert [each["name"] for each in matched] == [
        "baggage",
        "rpc_transit_baggage",
        "rpc_persist_baggage",
    ]
    wanted = mark_pattern("env", "dev")
    assert {each["safe_regex_match"]["regex"] for each in matched} == {wanted}


def test_a_client_without_a_sidecar_keeps_the_virtual_service_behind_the_lanes() -> None:
    built = with_group(GROUP, OWN)
    for client in (Client.SDK, Client.GRPC):
        found = routes_of(built, client, PLAIN)
        assert found == [("lane-dev", DEV), ("mine", BASELINE)]


def test_a_permissive_lane_has_the_baseline_behind_it_and_loses_nothing_to_it_before() -> None:
    built = with_group()
    assert tiers(built, Client.SDK, DEV) == [(0, ["127.9.1.2"]), (1, ["127.9.1.1"])]
    assignment = told(built, Client.SDK, messages.ENDPOINT)[DEV]
    assert assignment["policy"]["overprovisioning_factor"] == 100_000
    assert tiers(built, Client.SDK, BASELINE) == [(0, ["127.9.1.1"])]
    assert "policy" not in told(built, Client.SDK, messages.ENDPOINT)[BASELINE]


def test_a_strict_lane_is_its_own_instances_alone() -> None:
    built = with_group(dataclasses.replace(GROUP, mode="strict"))
    assert tiers(built, Client.SDK, DEV) == [(0, ["127.9.1.2"])]


def test_priorities_have_no_gap_where_a_lane_has_no_instance() -> None:
    nobody = dataclasses.replace(GROUP, lanes=(Lane("dev", (("version", "v9"),)),))
    built = with_group(nobody)
    assert tiers(built, Client.GRPC, DEV) == [(0, ["127.9.1.1", "127.9.1.2"])]


def test_kitex_which_knows_no_priority_gets_the_first_that_there_is() -> None:
    assert tiers(with_group(), Client.KITEX, DEV) == [(0, ["127.9.1.2"])]


def test_who_is_ill_is_seen_in_a_lane_by_the_hosts_own_rule_where_it_has_one() -> None:
    default = told(with_group(), Client.SDK, messages.CLUSTER)[DEV]["outlier_detection"]
    assert default["consecutive_gateway_failure"] == 1
    own = TrafficPolicy(outlier_detection=OutlierDetection(consecutive_gateway_errors=9))
    built = with_group(GROUP, rule(policy=own))
    assert (
        told(built, Client.SDK, messages.CLUSTER)[DEV]["outlier_detection"]
        ["consecutive_gateway_failure"] == 9
    )  # fmt: skip


def test_a_service_of_no_group_is_told_as_before() -> None:
    other = service("other.meta-thrift.svc.cluster.local")
    plain = mesh(service(), other)
    lanes = with_group(GROUP, service(), other)
    for kind in (messages.ROUTE, messages.CLUSTER, messages.ENDPOINT):
        before, after = (told(built, Client.SDK, kind) for built in (plain, lanes))
        names = [name for name in before if other.hostname in name]
        assert names
        assert {name: after[name] for name in names} == {name: before[name] for name in names}


def test_an_instance_that_cannot_be_called_yet_is_told_to_nobody_and_opens_its_ports() -> None:
    built = with_group()
    made = built.services[HOST]
    waiting = dataclasses.replace(
        made,
        endpoints=tuple(
            (port, tuple(dataclasses.replace(e, ready=e.address != "127.9.1.2") for e in some))
            for port, some in made.endpoints
        ),
    )
    fewer = dataclasses.replace(built, services={**built.services, HOST: waiting})
    assert tiers(fewer, Client.SDK, DEV) == [(0, ["127.9.1.1"])]
    assert tiers(fewer, Client.SIDECAR, PLAIN) == [(0, ["127.9.1.1"])]
    server = node(SERVERS[1])
    listeners = [resources(each, server)["Listener"] for each in (built, fewer)]
    assert listeners[0] == listeners[1]


def test_an_instance_says_its_lane_where_a_rule_of_ones_own_leads_past_the_lanes() -> None:
    own = rule()
    built = with_group(GROUP, own)
    for client in (Client.SDK, Client.ENVOY):
        assert lanes_of(built, client, f"outbound|9090|v1|{HOST}") == {"127.9.1.1": "baseline"}
        assert lanes_of(built, client, f"outbound|9090|v2|{HOST}") == {"127.9.1.2": "dev"}
    without = mesh(own)
    assert lanes_of(without, Client.SDK, f"outbound|9090|v1|{HOST}") == {"127.9.1.1": None}


def lanes_of(built: Mesh, client: Client, name: str) -> dict[str, str | None]:
    assignment = told(built, client, messages.ENDPOINT)[name]
    return {
        each["endpoint"]["address"]["socket_address"]["address"]: each.get("metadata", {})
        .get("filter_metadata", {})
        .get("meltemi", {})
        .get("lane")
        for group in assignment["endpoints"]
        for each in group["lb_endpoints"]
    }

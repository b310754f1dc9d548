"""Whose marks of lanes count, and where they end, as sidecars and other clients are told."""

from __future__ import annotations

import dataclasses
from typing import Any

from meltemi.lanes import with_lanes
from meltemi.lanes.compile import Rules
from meltemi.model import Lane, LaneGroup, LaneService, Mesh, Workload, WorkloadSelector
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client
from sample_mesh import CLIENT, HOST, NAMESPACE, SERVERS, mesh, node, resources, service

GROUP = LaneGroup(NAMESPACE, "g", (LaneService(HOST),), "env", (Lane("dev", (("version", "v2"),)),))
ONLY_SERVERS = dataclasses.replace(
    GROUP,
    marks_from=(WorkloadSelector(None, (("app", "server"),)),),
    trusted_sources=("10.0.0.0/8",),
)
OUTSIDE = "pay.example.com"
PLAIN = f"outbound|9090||{HOST}"
TYPE = messages.TYPE_PREFIX + "meltemi.v1alpha1.Marks"


def with_group(group: LaneGroup | None, *parts: Any) -> Mesh:
    built = mesh(*parts)
    groups = [group] if group else []
    written = Rules(built.destination_rules, built.virtual_services, built.meta_routers)
    rules = with_lanes(groups, built.services, written)._asdict()
    return dataclasses.replace(built, lane_groups=tuple(groups), **rules)


def filters(built: Mesh, of: Workload, direction: str) -> list[Any]:
    """The rules of the first filter of each listener; None where it is another one."""
    found: list[Any] = []
    for listener in resources(built, node(of))["Listener"].values():
        if listener["traffic_direction"] == direction:
            value = listener["filter_chains"][0]["filters"][0]["typed_config"]["value"]
            first = value["meta_protocol_filters"][0]
            assert first["name"] != "meltemi.marks" or first["config"]["@type"] == TYPE
            found.append(first.get("config", {}).get("rules"))
    return found


def ending(built: Mesh, client: Client, cluster: str) -> list[str] | None:
    """The keys whose marks end at a cluster."""
    found = resources(built, node(CLIENT, client))["Cluster"][cluster]["metadata"]
    keys: list[str] | None = found["filter_metadata"].get("meltemi", {}).get("unmarked")
    return keys


def test_without_lanes_no_listener_asks_who_calls() -> None:
    built = with_group(None)
    assert filters(built, SERVERS[0], "INBOUND") == [None]
    assert filters(built, CLIENT, "OUTBOUND") == [None]


def test_a_sidecar_before_an_application_takes_marks_of_workloads_and_not_of_strangers() -> None:
    built = with_group(GROUP)
    rules = [{"keys": ["env"], "any_workload": True}]
    assert filters(built, SERVERS[0], "INBOUND") == [rules]
    assert filters(built, CLIENT, "OUTBOUND") == [None]


def test_a_limited_group_names_who_may_mark_and_takes_marks_of_others_where_they_call() -> None:
    built = with_group(ONLY_SERVERS)
    workloads = [f"{NAMESPACE}/server-v1", f"{NAMESPACE}/server-v2"]
    rules = [{"keys": ["env"], "workloads": workloads, "networks": ["10.0.0.0/8"]}]
    assert filters(built, SERVERS[0], "INBOUND") == [rules]
    assert filters(built, CLIENT, "OUTBOUND") == [[{"keys": ["env"]}]]


def test_clients_without_a_sidecar_get_routes_of_lanes_only_where_their_marks_count() -> None:
    built = with_group(ONLY_SERVERS)
    names = {}
    for of in (CLIENT, SERVERS[0]):
        for client in (Client.SDK, Client.GRPC):
            (host,) = resources(built, node(of, client))["RouteConfiguration"][PLAIN][
                "virtual_hosts"
            ]
            names[of.name, client] = [route["name"] for route in host["routes"]]
    for client in (Client.SDK, Client.GRPC):
        assert names[CLIENT.name, client] == ["lane-baseline"]
        assert names[SERVERS[0].name, client] == ["lane-dev", "lane-baseline"]


def test_marks_end_at_the_clusters_of_a_service_outside_of_the_mesh() -> None:
    outside = service(OUTSIDE, outside=True)
    name = f"outbound|9090||{OUTSIDE}"
    for client in (Client.SIDECAR, Client.SDK):
        built = with_group(GROUP, service(), outside)
        assert ending(built, client, name) == ["env"]
        assert ending(built, client, PLAIN) is None
        part = dataclasses.replace(GROUP, services=(LaneService(HOST), LaneService(OUTSIDE)))
        assert ending(with_group(part, service(), outside), client, name) is None
        assert ending(with_group(None, service(), outside), client, name) is None
    for client in (Client.GRPC, Client.ENVOY):  # nobody there who would read it
        assert ending(with_group(GROUP, service(), outside), client, name) is None


def test_a_change_of_groups_reaches_what_was_built_before() -> None:
    translator = Translator()
    outside = service(OUTSIDE, outside=True)
    parts = (service(), outside)

    def told(built: Mesh, of: Workload) -> dict[str, bytes]:
        found = translator.resources(built, node(of))
        return {
            name: each.body
            for kind in (messages.LISTENER, messages.CLUSTER)
            for name, each in found[kind].items()
        }

    groups = [
        None,
        GROUP,
        ONLY_SERVERS,
        dataclasses.replace(ONLY_SERVERS, baggage_key="lane"),
        dataclasses.replace(GROUP, services=(LaneService(HOST), LaneService(OUTSIDE))),
        None,
    ]
    meshes = [with_group(None, *parts)]
    for group in groups:
        # Services stay the same objects, as they do in a control plane.
        made = with_group(group, *parts)
        same = dataclasses.replace(made, services=meshes[0].services, workloads=meshes[0].workloads)
        meshes.append(same)
    for built in meshes:
        for of in (CLIENT, SERVERS[0]):
            fresh = Translator().resources(built, node(of))
            wanted = {
                name: each.body
                for kind in (messages.LISTENER, messages.CLUSTER)
                for name, each in fresh[kind].items()
            }
            assert told(built, of) == wanted

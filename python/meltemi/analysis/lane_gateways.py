"""The VirtualServices of gateways with the routes of lanes, as documents: what
`meltemi.lanes.at_gateways` makes of their values."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meltemi.analysis.shown import ISTIO, Shown, document
from meltemi.config import Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.config.virtual_services import holds_for_mesh
from meltemi.lanes.at_gateways import Lanes, lanes_of
from meltemi.lanes.routes import HEADER, marked, open_lanes, subset_name
from meltemi.model import BASELINE, Lane, LaneGroup, Mesh

Route = dict[str, Any]


def at_gateways(objects: Sequence[Object], mesh: Mesh) -> Iterator[Shown]:
    """Of those for gateways alone, each that leads to a host with lanes."""
    lanes = lanes_of(mesh.lane_groups, mesh.services)
    for item in of_kind(objects, "VirtualService"):
        if item.spec.http and not holds_for_mesh(item.spec):
            spec = copy.deepcopy(item.raw["spec"])
            namespace = item.ref.namespace
            made = [each for route in spec["http"] for each in _routes(route, lanes, namespace)]
            if made != spec["http"]:
                spec["http"] = made
                yield Shown(document(ISTIO, "VirtualService", namespace, item.ref.name, spec))


def _routes(route: Route, lanes: Mapping[str, Lanes], namespace: str) -> Iterator[Route]:
    base = copy.deepcopy(route)
    groups: dict[tuple[str, str], LaneGroup] = {}
    for destination in _destinations(base):
        found = lanes.get(full_host(destination["host"], namespace))
        if found is not None:
            groups[found.group.namespace, found.group.name] = found.group
            destination.setdefault("subset", subset_name(BASELINE))
    for group in groups.values():
        for lane in open_lanes(group):
            hosts = {host for host, at in lanes.items() if at.group is group and lane in at.lanes}
            if hosts & {full_host(each["host"], namespace) for each in _destinations(base)}:
                yield _in_lane(base, group, lane, hosts, namespace)
    yield base


def _in_lane(base: Route, group: LaneGroup, lane: Lane, hosts: set[str], namespace: str) -> Route:
    made = copy.deepcopy(base)
    name = ".".join(part for part in (base.get("name"), subset_name(lane.name)) if part)
    mark = {HEADER: {"regex": marked(group, lane).value}}
    matches = made.pop("match", None) or [{}]
    asked = [{**each, "headers": {**each.get("headers", {}), **mark}} for each in matches]
    made["route"] = _joined(made["route"], subset_name(lane.name), hosts, namespace)
    return {"name": name, "match": asked, **{k: v for k, v in made.items() if k != "name"}}


def _joined(given: list[Route], subset: str, hosts: set[str], namespace: str) -> list[Route]:
    """Shares between subsets of one host do not hold in a lane: together they go there."""
    found: dict[tuple[str, str, str], Route] = {}
    for to in given:
        target = to["destination"]
        if full_host(target["host"], namespace) in hosts:
            target["subset"] = subset
        key = (target["host"], target.get("subset", ""), str(target.get("port")))
        if key in found:
            found[key]["weight"] = found[key].get("weight", 0) + to.get("weight", 0)
        else:
            found[key] = to
    return list(found.values())


def _destinations(route: Route) -> Iterator[dict[str, Any]]:
    for to in route.get("route") or ():
        yield to["destination"]

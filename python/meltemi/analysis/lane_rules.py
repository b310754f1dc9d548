"""The VirtualServices and DestinationRules that lanes stand for, as documents for `kubectl`.

What Istio has no word for is said in a comment: the fallback of a permissive lane, and a baseline
that is told by what its instances are not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from meltemi.config import Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.config.virtual_services import holds_for_mesh, hosts
from meltemi.lanes import subset_name
from meltemi.lanes.compile import Owner, owners
from meltemi.lanes.routes import HEADER, marked, name_of, open_lanes
from meltemi.model import BASELINE, LaneGroup, Mesh, Service, WorkloadSelector

_ISTIO = "networking.istio.io/v1"


@dataclass(frozen=True, slots=True)
class Shown:
    """One document, and what it cannot say."""

    document: dict[str, Any]
    comments: tuple[str, ...] = ()


def stands_for(objects: Sequence[Object], mesh: Mesh) -> list[Shown]:
    """In the order of groups and their services. A VirtualService that is there already takes the
    routes of lanes before its own; one of several hosts is parted."""
    found: list[Shown] = []
    owned = owners(mesh.lane_groups)
    parted: set[tuple[str, str]] = set()
    for host, owner in owned.items():
        service = mesh.services.get(host)
        if service is None:
            continue
        written = _written(objects, host)
        found.append(_destination_rule(owner, service))
        found.append(_virtual_service(owner, service, written, owned))
        if written is not None and (written.ref.namespace, written.ref.name) not in parted:
            parted.add((written.ref.namespace, written.ref.name))
            found.extend(_rest(written, owned))
    return found


def _written(objects: Sequence[Object], host: str) -> Object | None:
    for item in of_kind(objects, "VirtualService"):
        spec = item.spec
        if spec.http and holds_for_mesh(spec) and host in hosts(spec, item.ref.namespace):
            return item
    return None


def _destination_rule(owner: Owner, service: Service) -> Shown:
    group = owner.group
    subsets: list[dict[str, Any]] = [
        {"name": subset_name(lane.name), "labels": dict(lane.labels)} for lane in group.lanes
    ]
    comments = [
        f"lane {lane.name} is permissive: Istio alone answers an error where it has no instance"
        for lane in group.lanes
        if group.mode_of(lane, owner.service) == "permissive"
    ]
    base: dict[str, Any] = {"name": subset_name(BASELINE)}
    if group.baseline:
        base["labels"] = dict(group.baseline)
    else:
        comments.append("baseline has no labels: for Istio alone it is every instance")
    return Shown(
        {
            **_head("DestinationRule", service.namespace, name_of(group, service)),
            "spec": {"host": service.hostname, "subsets": [*subsets, base]},
        },
        tuple(comments),
    )


def _virtual_service(
    owner: Owner, service: Service, written: Object | None, owned: dict[str, Owner]
) -> Shown:
    host = service.hostname
    lanes = list(_lanes(owner.group, service))
    if written is None:
        head = _head("VirtualService", service.namespace, name_of(owner.group, service))
        return Shown({**head, "spec": {"hosts": [host], "http": [*lanes, *_baseline(service)]}})
    namespace, name = written.ref.namespace, written.ref.name
    mine = hosts(written.spec, namespace)
    if host != mine[0] or any(each not in owned for each in mine):
        name = f"{name}-{service.name}"  # another keeps the name
    spec = copy.deepcopy(written.raw["spec"])
    for route in spec["http"]:
        for to in route.get("route") or ():
            destination = to["destination"]
            if full_host(destination["host"], namespace) == host and not destination.get("subset"):
                destination["subset"] = subset_name(BASELINE)
    spec["hosts"], spec["http"] = [host], [*lanes, *spec["http"]]
    return Shown({**_head("VirtualService", namespace, name), "spec": spec})


def _rest(written: Object, owned: dict[str, Owner]) -> Iterator[Shown]:
    """The hosts of a VirtualService that have no lanes keep its name."""
    spec = written.raw["spec"]
    namespace = written.ref.namespace
    others = [host for host in spec["hosts"] if full_host(host, namespace) not in owned]
    if others:
        head = _head("VirtualService", namespace, written.ref.name)
        yield Shown({**head, "spec": {**copy.deepcopy(spec), "hosts": others}})


def _head(kind: str, namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": _ISTIO,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }


def _lanes(group: LaneGroup, service: Service) -> Iterator[dict[str, Any]]:
    for lane in open_lanes(group):
        mark = {"headers": {HEADER: {"regex": marked(group, lane).value}}}
        callers = group.marks_from or (WorkloadSelector(),)
        yield from _routes(service, lane.name, [mark | _of_caller(who) for who in callers])


def _of_caller(who: WorkloadSelector) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if who.labels:
        made["sourceLabels"] = dict(who.labels)
    if who.namespace:
        made["sourceNamespace"] = who.namespace
    return made


def _baseline(service: Service) -> Iterator[dict[str, Any]]:
    yield from _routes(service, BASELINE, [])


def _routes(service: Service, lane: str, matches: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One; of a service with several ports one for each, for Istio wants the destination's said."""
    several = len(service.ports) > 1
    for port in service.ports if several else service.ports[:1]:
        to: dict[str, Any] = {"host": service.hostname, "subset": subset_name(lane)}
        name, asked = subset_name(lane), copy.deepcopy(matches)  # twice would be an alias
        if several:
            name = f"{name}-{port.number}"
            asked = [{**each, "port": port.number} for each in asked or [{}]]
            to["port"] = {"number": port.number}
        yield {
            "name": name,
            **({"match": asked} if asked else {}),
            "route": [{"destination": to}],
        }

"""The rules that lanes stand for, as documents for `kubectl`.

What Istio has no word for is said in a comment: the fallback of a permissive lane, and a baseline
that is told by what its instances are not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from meltemi.analysis.lane_edge import NAMESPACE, envoy_filter
from meltemi.analysis.lane_gateways import at_gateways
from meltemi.analysis.lane_subsets import destination_rules, for_all
from meltemi.analysis.shown import ISTIO, Shown, document
from meltemi.config import Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.config.virtual_services import holds_for_mesh, hosts
from meltemi.lanes import subset_name
from meltemi.lanes.compile import Owner, owners
from meltemi.lanes.routes import ATTRIBUTES, HEADER, lanes_at, marked, name_of
from meltemi.model import BASELINE, Mesh, Service, WorkloadSelector
from meltemi.model.protocol import TCP

_AERAKI: Final = "metaprotocol.aeraki.io/v1alpha1"
_KEPT: Final = ("timeout", "retries", "headers")
"""What a route of a lane takes over from the one that takes every request."""


def stands_for(
    objects: Sequence[Object],
    mesh: Mesh,
    gateway_namespace: str = NAMESPACE,
    gateway_labels: Mapping[str, str] | None = None,
) -> list[Shown]:
    """In the order of groups and their services; behind them what colours at the edge, in Istio's
    gateway of that namespace and those labels. A rule that is there already takes the routes and
    subsets of lanes before its own; a VirtualService of several hosts is parted."""
    found: list[Shown] = []
    owned = owners(mesh.lane_groups)
    parted: set[tuple[str, str]] = set()
    for host, owner in owned.items():
        service = mesh.services.get(host)
        if service is None:
            continue
        found.extend(destination_rules(objects, owner, service))
        for written in _followed(objects, host):
            found.append(_virtual_service(owner, service, written, owned))
            place = (written.ref.namespace, written.ref.name)
            if host in hosts(written.spec, written.ref.namespace) and place not in parted:
                parted.add(place)
                found.extend(_rest(written, owned))
        if not any(for_all(written) for written in _followed(objects, host)):
            found.append(_new_virtual_service(owner, service))
        if any(port.protocol != TCP for port in service.ports):
            found.extend(_meta_routers(objects, owner, service))
    if mesh.lane_groups:
        found.extend(at_gateways(objects, mesh))
        found.append(envoy_filter(mesh.lane_groups, gateway_namespace, gateway_labels))
    return found


def _followed(objects: Sequence[Object], host: str) -> list[Object]:
    """What callers of the host follow: its own, else the narrowest wildcards, as far as one of
    them is for all."""
    written = [
        (item, hosts(item.spec, item.ref.namespace))
        for item in of_kind(objects, "VirtualService")
        if item.spec.http and item.spec.hosts and holds_for_mesh(item.spec)
    ]
    found = [item for item, of in written if host in of]
    if any(for_all(item) for item in found):
        return found
    wild = [
        (each, item)
        for item, of in written
        for each in of
        if each.startswith("*") and host.endswith(each[1:])
    ]
    for _, item in sorted(wild, key=lambda each: -len(each[0])):
        found.append(item)
        if for_all(item):
            break
    return found


def _new_virtual_service(owner: Owner, service: Service) -> Shown:
    spec = {
        "hosts": [service.hostname],
        "http": [*_lanes(owner, service), *_routes(service, BASELINE, [])],
    }
    name = name_of(owner.group, service)
    return Shown(document(ISTIO, "VirtualService", service.namespace, name, spec))


def _virtual_service(
    owner: Owner, service: Service, written: Object, owned: dict[str, Owner]
) -> Shown:
    host = service.hostname
    namespace, name = written.ref.namespace, written.ref.name
    mine = hosts(written.spec, namespace)
    if host != mine[0] or any(each not in owned for each in mine):
        name = f"{name}-{service.name}"  # another keeps the name
    spec = copy.deepcopy(written.raw["spec"])
    for route in spec["http"]:
        _narrow_to_baseline(route, host, namespace)
    everything: dict[str, Any] = next((r for r in spec["http"] if not r.get("match")), {})
    said = {field: everything[field] for field in _KEPT if field in everything}
    in_lanes = [{**lane, **copy.deepcopy(said)} for lane in _lanes(owner, service)]
    spec["hosts"], spec["http"] = [host], [*in_lanes, *spec["http"]]
    return Shown(document(ISTIO, "VirtualService", namespace, name, spec))


def _narrow_to_baseline(route: dict[str, Any], host: str, namespace: str) -> None:
    for to in route.get("route") or ():
        destination = to["destination"]
        if full_host(destination["host"], namespace) == host and not destination.get("subset"):
            destination["subset"] = subset_name(BASELINE)


def _rest(written: Object, owned: dict[str, Owner]) -> Iterator[Shown]:
    """The hosts of a VirtualService that have no lanes keep its name."""
    spec = written.raw["spec"]
    namespace = written.ref.namespace
    others = [host for host in spec["hosts"] if full_host(host, namespace) not in owned]
    if others:
        left = {**copy.deepcopy(spec), "hosts": others}
        yield Shown(document(ISTIO, "VirtualService", namespace, written.ref.name, left))


def _lanes(owner: Owner, service: Service) -> Iterator[dict[str, Any]]:
    group = owner.group
    for lane in lanes_at(group, owner.service, service):
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


def _meta_routers(objects: Sequence[Object], owner: Owner, service: Service) -> Iterator[Shown]:
    """For sidecars: where the mark is in the attributes of a request that is no HTTP."""
    host = service.hostname
    lanes = [
        _meta_route(service, lane.name, {attribute: {"regex": marked(owner.group, lane).value}})
        for attribute in ATTRIBUTES
        for lane in lanes_at(owner.group, owner.service, service)
    ]
    written = [
        item
        for item in of_kind(objects, "MetaRouter")
        if host in (full_host(each, item.ref.namespace) for each in item.spec.hosts or ())
    ]
    for item in written:
        spec = copy.deepcopy(item.raw["spec"])
        for route in spec.get("routes") or ():
            _narrow_to_baseline(route, host, item.ref.namespace)
        own = spec.get("routes") or [_meta_route(service, BASELINE, {})]
        spec["hosts"], spec["routes"] = [host], [*copy.deepcopy(lanes), *own]
        yield Shown(document(_AERAKI, "MetaRouter", item.ref.namespace, item.ref.name, spec))
    if not any(for_all(item) for item in written):
        spec = {"hosts": [host], "routes": [*lanes, _meta_route(service, BASELINE, {})]}
        name = name_of(owner.group, service)
        yield Shown(document(_AERAKI, "MetaRouter", service.namespace, name, spec))


def _meta_route(service: Service, lane: str, attributes: dict[str, Any]) -> dict[str, Any]:
    subset = subset_name(lane)
    return {
        "name": subset,
        **({"match": {"attributes": attributes}} if attributes else {}),
        "route": [{"destination": {"host": service.hostname, "subset": subset}}],
    }

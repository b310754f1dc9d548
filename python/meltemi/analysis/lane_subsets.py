"""The DestinationRules that lanes stand for: whose subsets they are added to, as documents."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Final

from meltemi.analysis.shown import ISTIO, Shown, document
from meltemi.config import Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.lanes import subset_name
from meltemi.lanes.compile import Owner
from meltemi.lanes.routes import name_of
from meltemi.model import BASELINE, Service

_KIND: Final = "DestinationRule"


def destination_rules(objects: Sequence[Object], owner: Owner, service: Service) -> Iterator[Shown]:
    """In each namespace what its callers follow: the rule of the host, else a copy of the narrowest
    wildcard; in the service's own, where none is for all, a new one."""
    host = service.hostname
    written = [(item, _host(item)) for item in of_kind(objects, _KIND) if not _narrow(item)]
    exact = [item for item, of in written if of == host]
    served = {item.ref.namespace for item in exact if for_all(item)}
    for item in exact:
        yield _with_subsets(item, item.ref.name, owner, service)
    wild = [(of, item) for item, of in written if of.startswith("*") and host.endswith(of[1:])]
    for _, item in sorted(wild, key=lambda found: -len(found[0])):
        if item.ref.namespace not in served:
            if for_all(item):
                served.add(item.ref.namespace)
            yield _with_subsets(item, f"{item.ref.name}-{service.name}", owner, service)
    if service.namespace not in served:
        spec = {"host": host, "subsets": _subsets(owner)}
        name = name_of(owner.group, service)
        yield Shown(document(ISTIO, _KIND, service.namespace, name, spec), _comments(owner))


def for_all(item: Object) -> bool:
    """Whether `exportTo` lets all namespaces follow it."""
    given = item.spec.export_to
    return not given or "*" in given


def _host(item: Object) -> str:
    return full_host(item.spec.host, item.ref.namespace)


def _narrow(item: Object) -> bool:
    selector = item.spec.workload_selector
    return bool(selector and selector.match_labels)


def _with_subsets(item: Object, name: str, owner: Owner, service: Service) -> Shown:
    spec = copy.deepcopy(item.raw["spec"])
    own = _subsets(owner)
    names = {subset["name"] for subset in own}
    kept = [subset for subset in spec.get("subsets") or () if subset["name"] not in names]
    spec["host"], spec["subsets"] = service.hostname, [*kept, *own]
    return Shown(document(ISTIO, _KIND, item.ref.namespace, name, spec), _comments(owner))


def _subsets(owner: Owner) -> list[dict[str, Any]]:
    group = owner.group
    base: dict[str, Any] = {"name": subset_name(BASELINE)}
    if group.baseline:
        base["labels"] = dict(group.baseline)
    return [
        *({"name": subset_name(lane.name), "labels": dict(lane.labels)} for lane in group.lanes),
        base,
    ]


def _comments(owner: Owner) -> tuple[str, ...]:
    group = owner.group
    found = [
        f"lane {lane.name} is permissive: Istio alone answers an error where it has no instance"
        for lane in group.lanes
        if group.mode_of(lane, owner.service) == "permissive"
    ]
    if not group.baseline:
        found.append("baseline has no labels: for Istio alone it is every instance")
    return tuple(found)

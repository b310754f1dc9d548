"""What an edge needs of lane groups, as JSON: how it travels from the control plane to processes.

Words are those of the documents. An entry with a condition that the reader does not know is left
out: it must not hold for requests that the condition would keep out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from meltemi.lanes.callers import AddressRule, address_rule
from meltemi.lanes.routes import open_lanes
from meltemi.model import Lane, LaneEntry, LaneGroup, Share, StringMatch, Workload

RESOURCE: Final = "meltemi.lanes"
"""Name of the `TypedExtensionConfig` that they are in."""
TYPE_URL: Final = "type.googleapis.com/meltemi.lanes.EdgeRules"
"""Of the TypedStruct in it."""

_MAPS: Final = ("headers", "cookies", "queryParams")
_KNOWN: Final = frozenset((*_MAPS, "uri", "method", "sourceAddresses", "percentage"))
_BY: Final = ("header", "cookie", "baggage")
_KINDS: Final = ("exact", "prefix", "regex")


def written(groups: Iterable[LaneGroup], workloads: Sequence[Workload] = ()) -> dict[str, Any]:
    """The JSON of the groups; lanes that are off are not in it. Of `workloads` come the addresses
    of who may mark, where that is limited."""
    return {"groups": [_group(group) | _callers(group, workloads) for group in groups]}


def _callers(group: LaneGroup, workloads: Sequence[Workload]) -> dict[str, Any]:
    rule = address_rule(group, workloads)
    if rule is None:
        return {}
    return {"marksFrom": {"addresses": sorted(rule.allowed), "others": sorted(rule.others)}}


def _group(group: LaneGroup) -> dict[str, Any]:
    return {
        "namespace": group.namespace,
        "name": group.name,
        "baggageKey": group.baggage_key,
        "trustedSources": list(group.trusted_sources),
        "lanes": [
            {
                "name": lane.name,
                "priority": lane.priority,
                "entry": [_entry(entry) for entry in lane.entries],
            }
            for lane in open_lanes(group)
        ],
    }


def _entry(entry: LaneEntry) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field, conditions in zip(
        _MAPS, (entry.headers, entry.cookies, entry.query_params), strict=True
    ):
        if conditions:
            made[field] = {name: _match(match) for name, match in conditions}
    if entry.uri:
        made["uri"] = _match(entry.uri)
    if entry.method:
        made["method"] = _match(entry.method)
    if entry.source_addresses:
        made["sourceAddresses"] = list(entry.source_addresses)
    if entry.share:
        made["percentage"] = {"value": entry.share.percent}
        if entry.share.by == "source-address":
            made["percentage"]["by"] = {"sourceAddress": True}
        elif entry.share.by != "request":
            made["percentage"]["by"] = {entry.share.by: entry.share.name}
    return made


def _match(match: StringMatch) -> dict[str, str]:
    return {} if match.kind == "present" else {match.kind: match.value}


def read(value: Mapping[str, Any]) -> tuple[LaneGroup, ...]:
    """The groups, as far as an edge needs them. Raises ValueError for what is no such JSON."""
    try:
        return tuple(_read_group(group) for group in value["groups"])
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not the rules of lanes: {type(exc).__name__} {exc}") from exc


def callers(value: Mapping[str, Any]) -> tuple[AddressRule, ...]:
    """Who may mark, of the groups that limit it. Raises ValueError as `read`."""
    try:
        return tuple(
            AddressRule(
                group["baggageKey"],
                frozenset(limited["addresses"]),
                frozenset(limited["others"]),
                tuple(group["trustedSources"]),
            )
            for group in value["groups"]
            if (limited := group.get("marksFrom")) is not None
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not the rules of lanes: {type(exc).__name__} {exc}") from exc


def _read_group(group: Mapping[str, Any]) -> LaneGroup:
    return LaneGroup(
        namespace=group["namespace"],
        name=group["name"],
        services=(),
        baggage_key=group["baggageKey"],
        lanes=tuple(_read_lane(lane) for lane in group["lanes"]),
        trusted_sources=tuple(group["trustedSources"]),
    )


def _read_lane(lane: Mapping[str, Any]) -> Lane:
    entries = (_read_entry(entry) for entry in lane["entry"])
    return Lane(
        name=lane["name"],
        labels=(),
        priority=int(lane["priority"]),
        entries=tuple(entry for entry in entries if entry is not None),
    )


def _read_entry(entry: Mapping[str, Any]) -> LaneEntry | None:
    if not entry or not _KNOWN.issuperset(entry):
        return None
    conditions = [
        tuple((name, _read_match(match)) for name, match in entry.get(field, {}).items())
        for field in _MAPS
    ]
    return LaneEntry(
        headers=conditions[0],
        cookies=conditions[1],
        query_params=conditions[2],
        uri=_read_match(entry["uri"]) if "uri" in entry else None,
        method=_read_match(entry["method"]) if "method" in entry else None,
        source_addresses=tuple(entry.get("sourceAddresses", ())),
        share=_read_share(entry["percentage"]) if "percentage" in entry else None,
    )


def _read_match(match: Mapping[str, str]) -> StringMatch:
    if not match:
        return StringMatch("present")
    for kind in _KINDS:
        if match.keys() == {kind}:
            return StringMatch(kind, match[kind])
    raise ValueError(f"no condition on a text: {dict(match)}")


def _read_share(share: Mapping[str, Any]) -> Share:
    by = share.get("by")
    if by is None:
        return Share(int(share["value"]))
    if by == {"sourceAddress": True}:
        return Share(int(share["value"]), "source-address")
    for kind in _BY:
        if by.keys() == {kind}:
            return Share(int(share["value"]), kind, by[kind])
    raise ValueError(f"no key of a share: {by}")

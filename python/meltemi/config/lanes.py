"""`LaneGroup` and `Lane` as the model has them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from meltemi.config.check import Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.config.schema import lane as schema
from meltemi.config.schema.types import pairs, texts
from meltemi.config.schema.virtual_service import StringMatch as Written
from meltemi.model import (
    Lane,
    LaneEntry,
    LaneGroup,
    LaneService,
    Share,
    StringMatch,
    WorkloadSelector,
)

BAGGAGE_KEY: Final = "lane"
"""Where the group says none."""


def lane_groups(objects: Sequence[Object]) -> tuple[LaneGroup, ...]:
    """In the order of (namespace, name), each with its lanes; a lane without its group is none."""
    lanes: dict[tuple[str, str], list[Object]] = {}
    for item in of_kind(objects, "Lane"):
        lanes.setdefault((item.ref.namespace, item.spec.group), []).append(item)
    return tuple(
        _group(item, lanes.get((item.ref.namespace, item.ref.name), ()))
        for item in of_kind(objects, "LaneGroup")
    )


def baggage_key(spec: schema.LaneGroupSpec) -> str:
    return spec.baggage_key or BAGGAGE_KEY


def _group(item: Object, lanes: Iterable[Object]) -> LaneGroup:
    spec: schema.LaneGroupSpec = item.spec
    namespace = item.ref.namespace
    return LaneGroup(
        namespace=namespace,
        name=item.ref.name,
        services=tuple(
            LaneService(
                full_host(each.host, namespace),
                each.mode,
                None if each.fallback is None else texts(each.fallback),
            )
            for each in spec.services
        ),
        baggage_key=baggage_key(spec),
        lanes=tuple(_lane(each, baggage_key(spec)) for each in lanes),
        baseline=pairs(spec.baseline.labels if spec.baseline else None),
        mode=spec.mode or "permissive",
        fallback=texts(spec.fallback),
        trusted_sources=_networks(spec.edge.trusted_sources if spec.edge else None),
        marks_from=tuple(
            WorkloadSelector(each.namespace, pairs(each.labels)) for each in spec.marks_from or ()
        ),
    )


def _networks(given: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(each)) for each in given or ())


def _lane(item: Object, key: str) -> Lane:
    spec: schema.LaneSpec = item.spec
    return Lane(
        name=item.ref.name,
        labels=pairs(spec.labels) or ((key, item.ref.name),),
        enabled=spec.enabled is not False,
        priority=spec.priority or 0,
        mode=spec.mode,
        entries=tuple(_entry(each) for each in spec.entry or ()),
    )


def _entry(entry: schema.Entry) -> LaneEntry:
    return LaneEntry(
        headers=_conditions(entry.headers, lower=True),
        cookies=_conditions(entry.cookies),
        query_params=_conditions(entry.query_params),
        uri=_condition(entry.uri) if entry.uri else None,
        method=_condition(entry.method) if entry.method else None,
        source_addresses=_networks(entry.source_addresses),
        share=_share(entry.percentage) if entry.percentage else None,
    )


def _conditions(
    given: Mapping[str, Written] | None, *, lower: bool = False
) -> tuple[tuple[str, StringMatch], ...]:
    found = ((name.lower() if lower else name, _condition(m)) for name, m in (given or {}).items())
    return tuple(sorted(found, key=lambda each: each[0]))


def _condition(match: Written) -> StringMatch:
    """None of the three: it is there."""
    if match.exact is not None:
        return StringMatch("exact", match.exact)
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    return StringMatch("present") if match.regex is None else StringMatch("regex", match.regex)


def _share(percentage: schema.Percentage) -> Share:
    by = percentage.by
    if by is None:
        return Share(percentage.value)
    if by.header is not None:
        return Share(percentage.value, "header", by.header.lower())
    if by.cookie is not None:
        return Share(percentage.value, "cookie", by.cookie)
    if by.baggage is not None:
        return Share(percentage.value, "baggage", by.baggage)
    return Share(percentage.value, "source-address" if by.source_address else "request")

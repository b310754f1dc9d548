"""Which local rate limits a request would meet, and which of their buckets it takes from.

The engine decides (`meltemi.engine.explain_limit`), over what `translate` puts into listeners."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meltemi import engine
from meltemi.model import LocalRateLimit, Mesh, MeshMode, Service
from meltemi.model.protocol import ENGINE_CODECS
from meltemi.translate import limits
from meltemi.translate.index import Index, codecs
from meltemi.xds import messages


def met(
    mesh: Mesh, service: Service, port: int, namespace: str, attributes: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The limits that a call of a service's port from `namespace` passes, in order, as JSON: `rule`
    and `service` (whose limit it is), `side`, `conditions` up to the one that matches (each with
    `matched` and `reasons`), `bucket` (in words, None: not limited)."""
    found = []
    for side, owner, rule, limit in (*_outbound(mesh, service, port, namespace),
                                     *_inbound(mesh, service, port)):  # fmt: skip
        message = messages.from_json(limits.LOCAL_RATE_LIMIT, limits.configuration(owner, limit))
        made = engine.explain_limit(messages.serialize(message), attributes)
        found.append({"rule": rule, "service": owner, "side": side, **made})
    return found


_Met = tuple[str, str, str, LocalRateLimit]
"""Side, service, rule, limit."""


def _outbound(mesh: Mesh, service: Service, port: int, namespace: str) -> Iterator[_Met]:
    protocol = next(each.protocol for each in service.ports if each.number == port)
    router = mesh.meta_router(service.hostname, namespace)
    limit = router.local_rate_limit if router else None
    if router and limit and limit.outbound and codecs(mesh).get(protocol) in ENGINE_CODECS:
        yield "outbound", service.hostname, f"{router.namespace}/{router.name}", limit


def _inbound(mesh: Mesh, service: Service, port: int) -> Iterator[_Met]:
    """Of the workloads behind the port, each limit once."""
    behind = {(each.workload, each.port) for each in dict(service.endpoints).get(port, ())}
    index = Index(_behind(mesh, {workload for workload, _ in behind}))
    seen: dict[_Met, None] = {}
    for workload in index.workloads:
        for inbound in index.inbound(workload):
            at = (f"{workload.namespace}/{workload.name}", inbound.port)
            if at not in behind or inbound.codec not in ENGINE_CODECS:
                continue
            for owner, limit in inbound.limits:
                router = mesh.meta_router(owner, workload.namespace)
                if router is not None:
                    seen["inbound", owner, f"{router.namespace}/{router.name}", limit] = None
    yield from seen


def _behind(mesh: Mesh, names: set[str]) -> Mesh:
    """The workloads with a sidecar among these, and every service that sends to one of them."""

    def sends(service: Service) -> bool:
        endpoints = (each for _, of_port in service.endpoints for each in of_port)
        return any(each.workload in names for each in endpoints)

    return dataclasses.replace(
        mesh,
        services={host: service for host, service in mesh.services.items() if sends(service)},
        workloads=tuple(
            workload
            for workload in mesh.workloads
            if workload.mode is MeshMode.SIDECAR
            and f"{workload.namespace}/{workload.name}" in names
        ),
    )


def lines(found: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The answer for people."""
    for limit in found:
        where = "workloads" if limit["side"] == "inbound" else "callers"
        rule = f"MetaRouter {limit['rule']}"
        yield f"local rate limit of {rule}, at the {where} of {limit['service']}"
        for number, condition in enumerate(limit["conditions"], 1):
            yield f"  {'takes' if condition['matched'] else 'skips'} condition {number}"
            yield from (f"    {reason}" for reason in condition["reasons"])
        matched = any(condition["matched"] for condition in limit["conditions"])
        which = "" if matched else " from the default bucket"
        yield f"  {limit['bucket']}{which}" if limit["bucket"] else "  not limited"

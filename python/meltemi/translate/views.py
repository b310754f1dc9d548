"""What all callers of a namespace share: clusters, endpoints, routes, ports to listen on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from meltemi.model import DestinationRule, MetaRouter, Service
from meltemi.translate import clusters, endpoints, listeners, names, routes
from meltemi.translate.builder import Builder, Named
from meltemi.translate.dialect import Dialect
from meltemi.translate.index import Index
from meltemi.translate.listeners import OutboundPort
from meltemi.xds import messages
from meltemi.xds.resource import Resource


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All services that a namespace sees, in one dialect. One view is equal to itself alone."""

    clusters: Named
    endpoints: Named
    routes: Named
    ports: tuple[tuple[OutboundPort, ...], ...]
    """One element a service, in the order of (namespace, hostname)."""
    services: dict[str, ServiceView]
    """By hostname, in that order: what the next view begins with."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What one service is to callers that the same rules hold for."""

    clusters: Named
    endpoints: Named
    routes: Named
    ports: tuple[OutboundPort, ...]


def view(builder: Builder, index: Index, dialect: Dialect, namespace: str) -> View:
    """As the namespace's callers see the mesh. Namespaces that see the same share one view."""
    services = {
        service.hostname: _service(builder, index, dialect, service, namespace)
        for service in index.services
        if service.visible_from(namespace)
    }
    return builder.memo.get(
        ("view", dialect), services, lambda: _together(builder, dialect, services)
    )


def refreshed(
    builder: Builder,
    index: Index,
    dialect: Dialect,
    namespace: str,
    before: View,
    affected: frozenset[str],
) -> View:
    """The same as `view`, from one of a mesh that differed for these hostnames only."""
    changed: list[tuple[str, ServiceView]] = []
    for hostname in affected:
        service = index.mesh.services.get(hostname)
        former = before.services.get(hostname)
        seen = service is not None and service.visible_from(namespace)
        if seen != (former is not None):
            return view(builder, index, dialect, namespace)  # others come before or behind it
        if service is not None and former is not None:
            now = _as_before(former, _service(builder, index, dialect, service, namespace))
            if now is not former:
                changed.append((hostname, now))
    if not changed:
        return before
    return builder.memo.get(
        ("refreshed", dialect),
        (before, changed),
        lambda: _together(builder, dialect, {**before.services, **dict(changed)}, before, changed),
    )


def _as_before(before: ServiceView, now: ServiceView) -> ServiceView:
    """With the objects of before where they are equal."""
    if now is before or now == before:
        return before
    return ServiceView(
        clusters=before.clusters if before.clusters == now.clusters else now.clusters,
        endpoints=before.endpoints if before.endpoints == now.endpoints else now.endpoints,
        routes=before.routes if before.routes == now.routes else now.routes,
        ports=before.ports if before.ports == now.ports else now.ports,
    )


def _together(
    builder: Builder,
    dialect: Dialect,
    services: dict[str, ServiceView],
    before: View | None = None,
    changed: Iterable[tuple[str, ServiceView]] = (),
) -> View:
    """All services in one mapping a type. It is that of `before` where none of those that `changed`
    differs in it."""

    def together(kind: str, make: Callable[[Hashable, tuple[Any, ...]], Any]) -> Any:
        part = attrgetter(kind)
        if before is not None:
            pairs = [(part(before.services[hostname]), part(now)) for hostname, now in changed]
            if all(former is now for former, now in pairs):
                return part(before)
            if kind != "ports" and all(former.keys() == now.keys() for former, now in pairs):
                return builder.replaced((kind, dialect), part(before), [now for _, now in pairs])
        return make((kind, dialect), tuple(map(part, services.values())))

    return View(
        clusters=together("clusters", builder.merged),
        endpoints=together("endpoints", builder.merged),
        routes=together("routes", builder.merged),
        ports=together("ports", builder.same),
        services=services,
    )


def _service(
    builder: Builder, index: Index, dialect: Dialect, service: Service, namespace: str
) -> ServiceView:
    rule = index.rules.rule(service, namespace)
    router = index.routers.router(service.hostname, namespace)
    codecs = tuple(index.codecs.get(port.protocol, "") for port in service.ports)
    own = builder.scope((dialect, service.hostname))
    return own.memo.get(
        "service",
        (service, rule, router, codecs),
        lambda: _build(own, dialect, service, rule, router, codecs),
    )


def _build(
    builder: Builder,
    dialect: Dialect,
    service: Service,
    rule: DestinationRule | None,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
) -> ServiceView:
    made_clusters, made_endpoints = {}, {}
    for upstream, members in clusters.upstreams(service, rule, dialect):
        made_clusters[upstream.name] = builder.resource(
            messages.CLUSTER,
            upstream.name,
            (upstream, members if upstream.dns else ()),
            functools.partial(clusters.cluster, upstream, members, dialect),
            of=dialect,
        )
        if not upstream.dns:
            made_endpoints[upstream.name] = builder.resource(
                messages.ENDPOINT,
                upstream.name,
                members,
                functools.partial(endpoints.load_assignment, upstream.name, members),
            )
    key = (dialect, service.hostname)
    return ServiceView(
        clusters=builder.same(("clusters of", key), made_clusters),
        endpoints=builder.same(("endpoints of", key), made_endpoints),
        routes=builder.same(("routes of", key), _routes(builder, service, router, codecs)),
        ports=listeners.outbound_ports(
            service,
            codecs,
            router if dialect is Dialect.ENVOY else None,
            router.local_rate_limit if router and dialect is not Dialect.ENVOY else None,
        ),
    )


def _routes(
    builder: Builder, service: Service, router: MetaRouter | None, codecs: tuple[str, ...]
) -> dict[str, Resource]:
    made = {}
    for port, codec in zip(service.ports, codecs, strict=True):
        if codec:
            name = names.route(service.hostname, port.number)
            made[name] = builder.resource(
                messages.ROUTE,
                name,
                router.routes if router else (),
                functools.partial(
                    routes.route_configuration, service.hostname, port.number, router
                ),
            )
    return made

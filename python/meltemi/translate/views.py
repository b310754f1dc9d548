"""What all callers of a namespace share: clusters, endpoints, routes, ports to listen on."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from meltemi.model import DestinationRule, MetaRouter, Service
from meltemi.translate import clusters, endpoints, listeners, names, routes
from meltemi.translate.builder import Builder, Named
from meltemi.translate.dialect import Dialect
from meltemi.translate.index import Index
from meltemi.translate.listeners import OutboundPort
from meltemi.xds import messages
from meltemi.xds.resource import Resource


@dataclass(frozen=True, slots=True)
class View:
    """All services that a namespace sees, in one dialect."""

    clusters: Named
    endpoints: Named
    routes: Named
    ports: tuple[tuple[OutboundPort, ...], ...]
    """One element a service, in the order of (namespace, hostname)."""


@dataclass(frozen=True, slots=True)
class _ServiceView:
    """What one service is to callers that the same rules hold for."""

    clusters: Named
    endpoints: Named
    routes: Named
    ports: tuple[OutboundPort, ...]


def view(builder: Builder, index: Index, dialect: Dialect, namespace: str) -> View:
    """As the namespace's callers see the mesh."""
    services = [
        _service(builder, index, dialect, service, namespace)
        for service in index.services
        if service.visible_from(namespace)
    ]
    key = (dialect, namespace)
    return View(
        clusters=builder.merged(("clusters", key), tuple(s.clusters for s in services)),
        endpoints=builder.merged(("endpoints", key), tuple(s.endpoints for s in services)),
        routes=builder.merged(("routes", key), tuple(s.routes for s in services)),
        ports=builder.same(("ports", key), tuple(s.ports for s in services)),
    )


def _service(
    builder: Builder, index: Index, dialect: Dialect, service: Service, namespace: str
) -> _ServiceView:
    rule = index.rules.rule(service, namespace)
    router = index.routers.router(service.hostname, namespace)
    codecs = tuple(index.codecs.get(port.protocol, "") for port in service.ports)
    return builder.memo.get(
        ("service", dialect, service.hostname),
        (service, rule, router, codecs),
        lambda: _build(builder, dialect, service, rule, router, codecs),
    )


def _build(
    builder: Builder,
    dialect: Dialect,
    service: Service,
    rule: DestinationRule | None,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
) -> _ServiceView:
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
    return _ServiceView(
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

"""What all callers of a namespace share: clusters, endpoints, routes, ports to listen on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from meltemi.model import DestinationRule, MetaRouter, Service
from meltemi.translate import (
    api_listeners,
    clusters,
    endpoints,
    hashing,
    http_routes,
    kitex,
    kitex_listeners,
    listeners,
    name_table,
    names,
    routes,
)
from meltemi.translate.builder import Builder, Named
from meltemi.translate.dialect import Dialect
from meltemi.translate.hashing import Hashed
from meltemi.translate.index import Index
from meltemi.translate.listeners import OutboundPort
from meltemi.translate.virtual_services import NOBODY, Caller, HttpRules
from meltemi.xds import messages
from meltemi.xds.resource import Resource

NOTHING: Final[Named] = {}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All services that a namespace sees, in one dialect. One view is equal to itself alone."""

    clusters: Named
    endpoints: Named
    routes: Named
    listeners: Named
    """Of clients that have no sockets of ours."""
    name_table: Named
    """Of Kitex: one resource."""
    addresses: Mapping[str, str]
    """Of services, as Kitex's listeners are named; of others none."""
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
    listeners: Named
    ports: tuple[OutboundPort, ...]


def view(
    builder: Builder, index: Index, dialect: Dialect, namespace: str, caller: Caller = NOBODY
) -> View:
    """As the namespace's callers see the mesh. Namespaces that see the same share one view."""
    services = {
        service.hostname: _service(builder, index, dialect, service, namespace, caller)
        for service in index.services
        if service.visible_from(namespace)
    }
    return builder.memo.get(
        ("view", dialect), services, lambda: _together(builder, index, dialect, services)
    )


def refreshed(
    builder: Builder,
    index: Index,
    dialect: Dialect,
    namespace: str,
    before: View,
    affected: frozenset[str],
    caller: Caller = NOBODY,
) -> View:
    """The same as `view`, from one of a mesh that differed for these hostnames only."""
    changed: list[tuple[str, ServiceView]] = []
    if dialect is Dialect.KITEX and index.addresses is not before.addresses:
        now_at, was_at = index.addresses, before.addresses
        affected |= {name for name in before.services if now_at.get(name) != was_at.get(name)}
    for hostname in affected:
        service = index.mesh.services.get(hostname)
        former = before.services.get(hostname)
        seen = service is not None and service.visible_from(namespace)
        if seen != (former is not None):
            return view(
                builder, index, dialect, namespace, caller
            )  # others come before or behind it
        if service is not None and former is not None:
            made = _service(builder, index, dialect, service, namespace, caller)
            now = _as_before(former, made)
            if now is not former:
                changed.append((hostname, now))
    if not changed:
        return before
    return builder.memo.get(
        ("refreshed", dialect),
        (before, changed),
        lambda: _together(
            builder, index, dialect, {**before.services, **dict(changed)}, before, changed
        ),
    )


def _as_before(before: ServiceView, now: ServiceView) -> ServiceView:
    """With the objects of before where they are equal."""
    if now is before or now == before:
        return before
    return ServiceView(
        clusters=before.clusters if before.clusters == now.clusters else now.clusters,
        endpoints=before.endpoints if before.endpoints == now.endpoints else now.endpoints,
        routes=before.routes if before.routes == now.routes else now.routes,
        listeners=before.listeners if before.listeners == now.listeners else now.listeners,
        ports=before.ports if before.ports == now.ports else now.ports,
    )


def _together(
    builder: Builder,
    index: Index,
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
        listeners=together("listeners", builder.merged),
        name_table=_name_table(builder, index, services) if dialect is Dialect.KITEX else NOTHING,
        addresses=index.addresses if dialect is Dialect.KITEX else {},
        ports=together("ports", builder.same),
        services=services,
    )


def _name_table(builder: Builder, index: Index, services: Iterable[str]) -> Named:
    rows = name_table.rows((index.mesh.services[name] for name in services), index.addresses)
    made = builder.resource(
        messages.NAME_TABLE,
        name_table.RESOURCE,
        rows,
        functools.partial(name_table.name_table, rows),
    )
    return builder.merged("name table", ({made.name: made},))


def _service(
    builder: Builder,
    index: Index,
    dialect: Dialect,
    service: Service,
    namespace: str,
    caller: Caller,
) -> ServiceView:
    rule = index.rules.rule(service, namespace)
    router = index.routers.router(service.hostname, namespace)
    codecs = tuple(index.codecs.get(port.protocol, "") for port in service.ports)
    own = builder.scope((dialect, service.hostname))
    near = dialect.asks_by_name and namespace == service.namespace
    http = None
    if dialect.takes_http_rules:
        http = index.virtual_services.rules(service, namespace, caller, index.mesh.services)
    unmarked = index.ending_marks(service) if dialect.is_engine else ()
    hashed: Hashed = ()
    sdk = dialect is Dialect.SDK
    if index.rules.hashing and dialect is not Dialect.GRPC and (any(codecs) or sdk):
        hashed = hashing.clusters(index, service, rule, router, namespace, http if sdk else None)
    address = index.addresses[service.hostname] if dialect is Dialect.KITEX else ""
    return own.memo.get(
        "service",
        (service, rule, router, codecs, hashed, http, near, address, unmarked),
        lambda: _build(
            own, dialect, service, rule, router, codecs, hashed, http, near, address, unmarked
        ),
    )


def _build(
    builder: Builder,
    dialect: Dialect,
    service: Service,
    rule: DestinationRule | None,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
    hashed: Hashed,
    http: HttpRules | None,
    near: bool,
    address: str,
    unmarked: tuple[str, ...],
) -> ServiceView:
    made_clusters, made_endpoints = {}, {}
    for upstream, members in clusters.upstreams(service, rule, dialect, unmarked):
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
                functools.partial(
                    endpoints.load_assignment,
                    upstream.name,
                    members,
                    named=dialect is not Dialect.KITEX,
                ),
            )
    key = (dialect, service.hostname)
    return ServiceView(
        clusters=builder.same(("clusters of", key), made_clusters),
        endpoints=builder.same(("endpoints of", key), made_endpoints),
        routes=builder.same(
            ("routes of", key),
            _routes(builder, service, router, codecs, hashed)
            | _http_routes(builder, dialect, service, _of_operators(router), codecs, http, hashed),
        ),
        listeners=builder.same(
            ("listeners of", key),
            _kitex_listeners(builder, service, _of_operators(router), codecs, address)
            if dialect is Dialect.KITEX
            else _listeners(builder, dialect, service, near=near),
        ),
        ports=listeners.outbound_ports(
            service,
            codecs,
            router if dialect is Dialect.ENVOY else None,
            router.local_rate_limit if router and dialect is not Dialect.ENVOY else None,
        ),
    )


def _of_operators(router: MetaRouter | None) -> MetaRouter | None:
    """Who reads VirtualServices finds the routes of lanes there."""
    return None if router is not None and router.lanes_only else router


def _routes(
    builder: Builder,
    service: Service,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
    hashed: Hashed,
) -> dict[str, Resource]:
    made = {}
    for port, codec in zip(service.ports, codecs, strict=True):
        if codec:
            name = names.route(service.hostname, port.number)
            made[name] = builder.resource(
                messages.ROUTE,
                name,
                (router.routes if router else (), hashed),
                functools.partial(
                    routes.route_configuration, service.hostname, port.number, router, dict(hashed)
                ),
            )
    return made


def _http_routes(
    builder: Builder,
    dialect: Dialect,
    service: Service,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
    http: HttpRules | None,
    hashed: Hashed,
) -> dict[str, Resource]:
    """As a VirtualService says."""
    if not dialect.takes_http_rules:
        return {}
    if dialect is not Dialect.SDK:
        hashed = ()  # neither gRPC's client nor Kitex balances by hash
    return {
        port.name(dialect): builder.resource(
            messages.ROUTE,
            port.name(dialect),
            port,
            functools.partial(http_routes.route_configuration, port, dialect),
            of=dialect,
        )
        for port in http_routes.ports(service.ports, codecs, service.hostname, http, router, hashed)
    }


def _listeners(
    builder: Builder, dialect: Dialect, service: Service, *, near: bool
) -> dict[str, Resource]:
    """Each port under each name of the service: what is in them, its routes, never changes."""
    made = {}
    for port in service.ports if dialect.asks_by_name else ():
        manager = api_listeners.connection_manager(service.hostname, port.number)
        for host in api_listeners.hosts(service, near=near):
            name = f"{host}:{port.number}"
            made[name] = builder.resource(
                messages.LISTENER,
                name,
                (),
                functools.partial(api_listeners.listener, name, manager),
            )
    return made


def _kitex_listeners(
    builder: Builder,
    service: Service,
    router: MetaRouter | None,
    codecs: tuple[str, ...],
    address: str,
) -> dict[str, Resource]:
    """Each port at the service's address."""
    made = {}
    for port, codec in zip(service.ports, codecs, strict=True):
        name = names.listener(address, port.number)
        by_method = kitex.thrift_routes(router if codec else None, port.number)
        made[name] = builder.resource(
            messages.LISTENER,
            name,
            by_method,
            functools.partial(
                kitex_listeners.outbound, service.hostname, port.number, address, by_method
            ),
        )
    return made

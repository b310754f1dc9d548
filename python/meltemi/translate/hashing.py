"""Which clusters that a service's routes lead to balance by hash, and by what."""

from __future__ import annotations

from collections.abc import Iterator

from meltemi.model import ConsistentHash, Destination, DestinationRule, MetaRouter, Service
from meltemi.translate import names, rules
from meltemi.translate.index import Index
from meltemi.translate.virtual_services import HttpRules

Hashed = tuple[tuple[str, ConsistentHash], ...]
"""By cluster. Not only of the service itself: a route may lead to other hosts."""


def clusters(
    index: Index,
    service: Service,
    rule: DestinationRule | None,
    router: MetaRouter | None,
    namespace: str,
    http: HttpRules | None = None,
) -> Hashed:
    """For callers of `namespace`. `rule` is the one of the service itself, `http` what callers
    without a sidecar go by."""
    only_ports = dict(http.only_ports) if http is not None else {}
    found: dict[str, ConsistentHash] = {}
    by_host: dict[str, DestinationRule | None] = {service.hostname: rule}
    for destination in dict.fromkeys(_destinations(service, router, http)):
        host = destination.host
        if host not in by_host:
            other = index.mesh.services.get(host)
            by_host[host] = index.rules.rule(other, namespace) if other is not None else None
        governing = by_host[host]
        subset = rules.subsets(governing).get(destination.subset) if governing else None
        if subset is None:
            continue
        for port in _ports(service, destination, only_ports.get(host)):
            policy = rules.policy(governing, subset if subset.name else None, port)
            if isinstance(policy.load_balancer, ConsistentHash):
                name = names.outbound(port, destination.subset, host)
                found[name] = policy.load_balancer
    return tuple(found.items())


def _destinations(
    service: Service, router: MetaRouter | None, http: HttpRules | None
) -> Iterator[Destination]:
    """A MetaRouter without routes routes like none."""
    if router is None or not router.routes:
        yield Destination(service.hostname)
    else:
        for route in router.routes:
            for weighted in route.destinations:
                yield weighted.destination
    for http_route in http.routes if http is not None else ():
        for to in http_route.destinations:
            yield to.destination


def _ports(service: Service, destination: Destination, only: int | None) -> tuple[int, ...]:
    """Where a destination names no port, it is the one that the request came for; or the `only`
    one of its host, where calls go by a VirtualService."""
    if destination.port:
        return (destination.port,)
    called = tuple(port.number for port in service.ports)
    return called if only is None or only in called else (*called, only)

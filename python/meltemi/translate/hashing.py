"""Which clusters that a service's routes lead to balance by hash, and by what."""

from __future__ import annotations

from collections.abc import Iterator

from meltemi.model import ConsistentHash, Destination, DestinationRule, MetaRouter, Service
from meltemi.translate import names, rules
from meltemi.translate.index import Index

Hashed = tuple[tuple[str, ConsistentHash], ...]
"""By cluster. Not only of the service itself: a route may lead to other hosts."""


def clusters(
    index: Index,
    service: Service,
    rule: DestinationRule | None,
    router: MetaRouter | None,
    namespace: str,
) -> Hashed:
    """For callers of `namespace`. `rule` is the one of the service itself."""
    found: dict[str, ConsistentHash] = {}
    by_host: dict[str, DestinationRule | None] = {service.hostname: rule}
    for destination in dict.fromkeys(_destinations(service, router)):
        host = destination.host
        if host not in by_host:
            other = index.mesh.services.get(host)
            by_host[host] = index.rules.rule(other, namespace) if other is not None else None
        governing = by_host[host]
        subset = rules.subsets(governing).get(destination.subset) if governing else None
        if subset is None:
            continue
        for port in (destination.port,) if destination.port else _ports(service):
            policy = rules.policy(governing, subset if subset.name else None, port)
            if isinstance(policy.load_balancer, ConsistentHash):
                name = names.outbound(port, destination.subset, host)
                found[name] = policy.load_balancer
    return tuple(found.items())


def _destinations(service: Service, router: MetaRouter | None) -> Iterator[Destination]:
    """A MetaRouter without routes routes like none."""
    if router is None or not router.routes:
        yield Destination(service.hostname)
        return
    for route in router.routes:
        for weighted in route.destinations:
            yield weighted.destination


def _ports(service: Service) -> tuple[int, ...]:
    """Where a destination names no port, it is the one that the request came for."""
    return tuple(port.number for port in service.ports)

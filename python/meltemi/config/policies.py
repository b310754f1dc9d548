"""`DestinationRule` and `MetaRouter` as the model has them."""

from __future__ import annotations

from meltemi.config.check import Object
from meltemi.config.schema import destination_rule as rules
from meltemi.config.schema import meta_router as routers
from meltemi.config.schema.types import pairs, seconds, texts
from meltemi.model import (
    ConnectionPool,
    Destination,
    DestinationRule,
    LoadBalancer,
    MetaRoute,
    MetaRouter,
    StringMatch,
    Subset,
    TrafficPolicy,
    WeightedDestination,
)


def full_host(host: str, namespace: str) -> str:
    """Istio's reading of a DestinationRule's host: a name without a dot is a service near by."""
    host = host.lower().removesuffix(".")
    return host if "." in host or "*" in host else f"{host}.{namespace}.svc.cluster.local"


def destination_rule(item: Object) -> DestinationRule | None:
    """None for a rule of some workloads only: that is not there yet, and must not hold for all.

    Its security settings do hold for all: better refused than sent in the clear."""
    spec: rules.DestinationRuleSpec = item.spec
    rule = DestinationRule(
        namespace=item.ref.namespace,
        name=item.ref.name,
        host=full_host(spec.host, item.ref.namespace),
        policy=_policy(spec.traffic_policy),
        port_policies=_port_policies(spec.traffic_policy),
        subsets=tuple(
            Subset(
                subset.name,
                pairs(subset.labels),
                _policy(subset.traffic_policy),
                _port_policies(subset.traffic_policy),
            )
            for subset in spec.subsets or ()
        ),
        export_to=texts(spec.export_to),
    )
    selector = spec.workload_selector
    if selector is None or not selector.match_labels:
        return rule
    policies = [rule.policy, *(policy for _, policy in rule.port_policies)]
    for subset in rule.subsets:
        policies += [subset.policy, *(policy for _, policy in subset.port_policies)]
    return rule if any(policy.unsafe for policy in policies) else None


def _policy(policy: rules.PolicySettings | None) -> TrafficPolicy:
    if policy is None:
        return TrafficPolicy()
    return TrafficPolicy(_balancer(policy.load_balancer), _pool(policy), _unsafe(policy))


def _port_policies(policy: rules.TrafficPolicy | None) -> tuple[tuple[int, TrafficPolicy], ...]:
    ports = {}
    for setting in (policy.port_level_settings if policy else None) or ():
        if setting.port is not None and setting.port.number is not None:
            ports[setting.port.number] = _policy(setting)
    return tuple(sorted(ports.items()))


def _balancer(settings: rules.LoadBalancerSettings | None) -> LoadBalancer | None:
    simple = settings.simple if settings else None
    if simple in (None, "UNSPECIFIED"):
        return None
    return LoadBalancer.LEAST_REQUEST if simple == "LEAST_CONN" else LoadBalancer(simple)


def _pool(policy: rules.PolicySettings) -> ConnectionPool | None:
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    if tcp is None:
        return None
    return ConnectionPool(
        tcp.max_connections or None, seconds(tcp.connect_timeout), seconds(tcp.idle_timeout)
    )


def _unsafe(policy: rules.PolicySettings) -> str | None:
    if policy.tls is None:
        return None
    mode = policy.tls.mode or "DISABLE"
    if mode == "DISABLE":
        return ""  # said, and plain: it overrides what a wider policy asks for
    return f"tls mode {mode} of the DestinationRule is not there yet"


def meta_router(item: Object) -> MetaRouter:
    spec: routers.MetaRouterSpec = item.spec
    return MetaRouter(
        namespace=item.ref.namespace,
        name=item.ref.name,
        host=spec.hosts[0].lower().removesuffix("."),
        routes=tuple(_route(route) for route in spec.routes or ()),
        export_to=texts(spec.export_to),
    )


def _route(route: routers.Route) -> MetaRoute:
    attributes = (route.match.attributes if route.match else None) or {}
    destinations = route.route or []
    return MetaRoute(
        name=route.name or "",
        match=tuple((name.lower(), _match(match)) for name, match in attributes.items()),
        destinations=tuple(_destination(item, len(destinations) == 1) for item in destinations),
        request_mutation=tuple((pair.key, pair.value) for pair in route.request_mutation or ()),
        response_mutation=tuple((pair.key, pair.value) for pair in route.response_mutation or ()),
    )


def _match(match: routers.StringMatch) -> StringMatch:
    """`{}` and `exact: ""` mean that the attribute is present."""
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    if match.regex is not None:
        return StringMatch("regex", match.regex)
    return StringMatch("exact", match.exact) if match.exact else StringMatch("present")


def _destination(item: routers.RouteDestination, alone: bool) -> WeightedDestination:
    """The only destination of a route gets every request, whatever its weight."""
    target = item.destination
    port = target.port.number if target.port else None
    destination = Destination(target.host.lower().removesuffix("."), target.subset or "", port)
    return WeightedDestination(destination, 100 if alone else item.weight or 0)

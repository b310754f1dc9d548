"""`DestinationRule` and `MetaRouter` as the model has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from meltemi.config import own_annotations
from meltemi.config.check import Object
from meltemi.config.rules.names import full_host
from meltemi.config.schema import destination_rule as rules
from meltemi.config.schema import meta_router as routers
from meltemi.config.schema.types import duration_ns, pairs, seconds, texts
from meltemi.model import (
    ConnectionPool,
    ConsistentHash,
    Destination,
    DestinationRule,
    LimitCondition,
    LoadBalancer,
    LocalRateLimit,
    MetaRoute,
    MetaRouter,
    Mutation,
    OutlierDetection,
    RetryBudget,
    StringMatch,
    Subset,
    TokenBucket,
    TrafficPolicy,
    WeightedDestination,
)

DEFAULT_RING_SIZE: Final = 1024

_PortPolicies = tuple[tuple[int, TrafficPolicy], ...]


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
    in_flight = own_annotations.max_in_flight(item.metadata.annotations)
    if in_flight is not None:
        rule = _multiplexed(rule, in_flight)
    selector = spec.workload_selector
    if selector is None or not selector.match_labels:
        return rule
    policies = [rule.policy, *(policy for _, policy in rule.port_policies)]
    for subset in rule.subsets:
        policies += [subset.policy, *(policy for _, policy in subset.port_policies)]
    return rule if any(policy.unsafe for policy in policies) else None


def _multiplexed(rule: DestinationRule, in_flight: int) -> DestinationRule:
    """With `max_in_flight` in each policy that holds: a narrower one replaces the whole pool, and
    a subset without a pool of its own has the rule's."""

    def said(policy: TrafficPolicy) -> TrafficPolicy:
        pool = policy.connection_pool or ConnectionPool()
        return replace(policy, connection_pool=replace(pool, max_in_flight=in_flight))

    def of_ports(policies: _PortPolicies) -> _PortPolicies:
        return tuple((port, said(policy)) for port, policy in policies)

    return replace(
        rule,
        policy=said(rule.policy),
        port_policies=of_ports(rule.port_policies),
        subsets=tuple(
            replace(
                subset,
                policy=said(subset.policy) if subset.policy.connection_pool else subset.policy,
                port_policies=of_ports(subset.port_policies),
            )
            for subset in rule.subsets
        ),
    )


def _policy(policy: rules.PolicySettings | None) -> TrafficPolicy:
    if policy is None:
        return TrafficPolicy()
    budget = policy.retry_budget if isinstance(policy, rules.TrafficPolicy) else None
    return TrafficPolicy(
        _balancer(policy.load_balancer),
        _pool(policy.connection_pool),
        _unsafe(policy),
        _outlier_detection(policy.outlier_detection),
        _retry_budget(budget),
    )


def _port_policies(policy: rules.TrafficPolicy | None) -> _PortPolicies:
    ports = {}
    for setting in (policy.port_level_settings if policy else None) or ():
        if setting.port is not None and setting.port.number is not None:
            ports[setting.port.number] = _policy(setting)
    return tuple(sorted(ports.items()))


def _balancer(
    settings: rules.LoadBalancerSettings | None,
) -> LoadBalancer | ConsistentHash | None:
    if settings is not None and settings.consistent_hash is not None:
        return _consistent_hash(settings.consistent_hash)
    simple = settings.simple if settings else None
    if simple in (None, "UNSPECIFIED"):
        return None
    return LoadBalancer.LEAST_REQUEST if simple == "LEAST_CONN" else LoadBalancer(simple)


def _consistent_hash(said: rules.ConsistentHash) -> ConsistentHash | None:
    """None for what only HTTP requests have: not there yet, so the wider policy holds.

    Ring sizes as Istio has them: where neither algorithm is named, 1024 places unless the
    deprecated field says more (ApplyRingHashLoadBalancer in pilot/pkg/networking/core)."""
    if said.http_cookie is not None or said.http_query_parameter_name is not None:
        return None
    ring: int | None = said.minimum_ring_size or DEFAULT_RING_SIZE
    if said.ring_hash is not None:
        ring = said.ring_hash.minimum_ring_size or None
    return ConsistentHash(
        attribute=said.http_header_name or "",
        source_ip=bool(said.use_source_ip),
        minimum_ring_size=None if said.maglev else ring,
        table_size=said.maglev.table_size if said.maglev else None,
    )


def _pool(said: rules.ConnectionPool | None) -> ConnectionPool | None:
    """A limit of 0 is none, as Istio has it."""
    if said is None or (said.tcp is None and said.http is None):
        return None
    tcp, http = said.tcp or rules.TcpSettings(), said.http or rules.HttpSettings()
    return ConnectionPool(
        max_connections=tcp.max_connections or None,
        connect_timeout_s=seconds(tcp.connect_timeout),
        idle_timeout_s=seconds(tcp.idle_timeout),
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_retries=http.max_retries or None,
    )


def _outlier_detection(said: rules.OutlierDetection | None) -> OutlierDetection | None:
    if said is None:
        return None
    return OutlierDetection(
        consecutive_5xx=said.consecutive_5xx_errors,
        consecutive_gateway_errors=said.consecutive_gateway_errors,
        split_local_origin=bool(said.split_external_local_origin_errors),
        consecutive_local_origin_failures=said.consecutive_local_origin_failures or None,
        interval_s=seconds(said.interval),
        base_ejection_time_s=seconds(said.base_ejection_time),
        max_ejection_percent=said.max_ejection_percent or None,
        min_health_percent=said.min_health_percent or 0,
    )


def _retry_budget(said: rules.RetryBudget | None) -> RetryBudget | None:
    if said is None:
        return None
    default = RetryBudget()
    least = said.min_retry_concurrency
    return RetryBudget(
        percent=default.percent if said.percent is None else said.percent,
        min_retry_concurrency=default.min_retry_concurrency if least is None else least,
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
        host=full_host(spec.hosts[0], item.ref.namespace),
        routes=tuple(_route(route, item.ref.namespace) for route in spec.routes or ()),
        export_to=texts(spec.export_to),
        local_rate_limit=_local_limit(spec.local_rate_limit, item.metadata.annotations),
    )


def _local_limit(
    limit: routers.LocalRateLimit | None, annotations: Mapping[str, str] | None
) -> LocalRateLimit | None:
    if limit is None:
        return None
    side = own_annotations.limit_side(annotations)
    return LocalRateLimit(
        conditions=tuple(
            LimitCondition(_matches(condition.match), _bucket(condition.token_bucket))
            for condition in limit.conditions or ()
        ),
        bucket=_bucket(limit.token_bucket) if limit.token_bucket else None,
        inbound=side != "outbound",
        outbound=side != "inbound",
    )


def _bucket(bucket: routers.TokenBucket) -> TokenBucket:
    """A fill is of one token where nothing is said, as the documentation has it."""
    interval = duration_ns(bucket.fill_interval) or 0
    return TokenBucket(bucket.max_tokens, bucket.tokens_per_fill or 1, interval)


def _route(route: routers.Route, namespace: str) -> MetaRoute:
    destinations = route.route or []
    return MetaRoute(
        name=route.name or "",
        match=_matches(route.match),
        destinations=tuple(
            _destination(item, namespace, alone=len(destinations) == 1) for item in destinations
        ),
        request_mutation=_mutation(route.request_mutation),
        response_mutation=_mutation(route.response_mutation),
    )


def _mutation(changes: list[routers.Mutation] | None) -> Mutation:
    return tuple((each.key, None if each.remove else each.value) for each in changes or ())


def _matches(match: routers.Match | None) -> tuple[tuple[str, StringMatch], ...]:
    attributes = (match.attributes if match else None) or {}
    return tuple((name.lower(), _match(wanted)) for name, wanted in attributes.items())


def _match(match: routers.StringMatch) -> StringMatch:
    """`{}` and `exact: ""` mean that the attribute is present."""
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    if match.regex is not None:
        return StringMatch("regex", match.regex)
    return StringMatch("exact", match.exact) if match.exact else StringMatch("present")


def _destination(
    item: routers.RouteDestination, namespace: str, *, alone: bool
) -> WeightedDestination:
    """The only destination of a route gets every request, whatever its weight."""
    target = item.destination
    port = target.port.number if target.port else None
    destination = Destination(full_host(target.host, namespace), target.subset or "", port)
    return WeightedDestination(destination, 100 if alone else item.weight or 0)

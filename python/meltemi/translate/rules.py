"""Which DestinationRule governs a host for a caller, and which policy follows from it.

Istio's rules: `destinationRule` and `mergeDestinationRule` in pilot/pkg/model for the choice,
`MergeTrafficPolicy` in pilot/pkg/networking/core for the policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meltemi.model import (
    ConsistentHash,
    DestinationRule,
    MetaRouter,
    Service,
    Subset,
    TrafficPolicy,
)
from meltemi.model.edited import edited
from meltemi.model.service import visible

ROOT_NAMESPACE: Final = "istio-system"
"""Whose rules hold for all callers that have no nearer one."""


@dataclass(slots=True)
class _Namespace:
    exact: dict[str, list[DestinationRule]] = field(default_factory=dict)
    wildcard: dict[str, list[DestinationRule]] = field(default_factory=dict)
    """By what follows the `*`, longest first."""


class DestinationRules:
    """The DestinationRules of a mesh, ready to be asked for many hosts and callers."""

    def __init__(self, rules: Iterable[DestinationRule]) -> None:
        self.hashing = False
        """Whether any of them balances by hash."""
        self._namespaces: dict[str, _Namespace] = {}
        self._merged: dict[tuple[int, ...], DestinationRule] = {}
        for rule in rules:
            self.hashing = self.hashing or _hashes(rule)
            namespace = self._namespaces.setdefault(rule.namespace, _Namespace())
            if rule.host.startswith("*"):
                namespace.wildcard.setdefault(rule.host[1:], []).append(rule)
            else:
                namespace.exact.setdefault(rule.host, []).append(rule)
        for namespace in self._namespaces.values():
            longest_first = sorted(namespace.wildcard.items(), key=lambda item: -len(item[0]))
            namespace.wildcard = dict(longest_first)

    def rule(self, service: Service, caller_namespace: str) -> DestinationRule | None:
        """The caller's own namespace decides, else the service's, else the root namespace.

        Within one, the most specific host that the caller may see; rules of a host are one rule."""
        order = [caller_namespace, service.namespace, ROOT_NAMESPACE]
        if caller_namespace == ROOT_NAMESPACE:
            del order[0]
        for name in dict.fromkeys(order):
            namespace = self._namespaces.get(name)
            if namespace is not None:
                seen = _most_specific(namespace, service.hostname, caller_namespace)
                if seen:
                    return self._one(seen)
        return None

    def _one(self, rules: list[DestinationRule]) -> DestinationRule:
        if len(rules) == 1:
            return rules[0]
        key = tuple(map(id, rules))
        if key not in self._merged:
            self._merged[key] = merge(rules)
        return self._merged[key]


def _hashes(rule: DestinationRule) -> bool:
    if isinstance(rule.policy.load_balancer, ConsistentHash):
        return True
    policies = [policy for _, policy in rule.port_policies]
    for subset in rule.subsets:
        policies.append(subset.policy)
        policies += [policy for _, policy in subset.port_policies]
    return any(isinstance(policy.load_balancer, ConsistentHash) for policy in policies)


def _most_specific(namespace: _Namespace, hostname: str, caller: str) -> list[DestinationRule]:
    seen = _visible(namespace.exact.get(hostname, ()), caller)
    if seen:
        return seen
    for suffix, rules in namespace.wildcard.items():
        if hostname.endswith(suffix):
            seen = _visible(rules, caller)
            if seen:
                return seen
    return []


def _visible(rules: Iterable[DestinationRule], caller: str) -> list[DestinationRule]:
    return [rule for rule in rules if visible(rule.export_to, rule.namespace, caller)]


def merge(rules: list[DestinationRule]) -> DestinationRule:
    """Rules of one namespace for one host, in order: the first subset of a name stays, and the
    first that has a policy for the host gives it."""
    merged = rules[0]
    for rule in rules[1:]:
        known = {subset.name for subset in merged.subsets}
        more = tuple(subset for subset in rule.subsets if subset.name not in known)
        merged = replace(merged, subsets=merged.subsets + more)
        if merged.policy == TrafficPolicy() and not merged.port_policies:
            merged = replace(merged, policy=rule.policy, port_policies=rule.port_policies)
    return merged


def policy(rule: DestinationRule | None, subset: Subset | None, port: int) -> TrafficPolicy:
    """What holds for one cluster. A port's policy replaces the whole policy around it and inherits
    nothing from it (Istio, TrafficPolicy.portLevelSettings); a subset overrides part by part."""
    if rule is None:
        return TrafficPolicy()
    wide = dict(rule.port_policies).get(port, rule.policy)
    if subset is None:
        return wide
    own = dict(subset.port_policies).get(port)
    return own if own is not None else _override(wide, subset.policy)


def _override(wide: TrafficPolicy, narrow: TrafficPolicy) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=narrow.load_balancer or wide.load_balancer,
        connection_pool=narrow.connection_pool or wide.connection_pool,
        unsafe=narrow.unsafe if narrow.unsafe is not None else wide.unsafe,
        outlier_detection=narrow.outlier_detection or wide.outlier_detection,
        retry_budget=narrow.retry_budget or wide.retry_budget,
    )


class MetaRouters:
    """The MetaRouters of a mesh by host; `Mesh.meta_router`, without a walk over all of them."""

    def __init__(self, routers: tuple[MetaRouter, ...], before: MetaRouters | None = None) -> None:
        """From those of the mesh `before`, only hosts whose routers changed are looked at."""
        self._routers = routers
        self._by_host: dict[str, list[MetaRouter]] = {}
        if before is not None:
            left, right = edited(before._routers, routers)
            hosts = {router.host for router in (*before._routers[left], *routers[right])}
            self._by_host = dict(before._by_host)
            for host in hosts:
                self._by_host.pop(host, None)
            routers = tuple(router for router in routers if router.host in hosts)
        for router in routers:
            self._by_host.setdefault(router.host, []).append(router)

    def router(self, hostname: str, caller_namespace: str) -> MetaRouter | None:
        """The first, in order of `namespace/name`, that the caller's namespace may see."""
        for router in self._by_host.get(hostname, ()):
            if visible(router.export_to, router.namespace, caller_namespace):
                return router
        return None


def subsets(rule: DestinationRule | None) -> Mapping[str, Subset]:
    """By name, with the whole host as ""."""
    whole = {"": Subset(name="", labels=())}
    return whole if rule is None else whole | {subset.name: subset for subset in rule.subsets}

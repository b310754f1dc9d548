"""What each gateway workload opens, and what the rules say of the requests that come in there.

Istio's way (pilot/pkg/networking/core/gateway.go): the servers of all Gateways that select a
workload are merged by port; of each the hosts that a VirtualService names too are virtual hosts;
several VirtualServices for one host follow each other, those routes last that take everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from meltemi.model import (
    ConsistentHash,
    DestinationRule,
    Gateway,
    GatewayServer,
    HttpRoute,
    Service,
    VirtualService,
    Workload,
)
from meltemi.model.gateway import narrower
from meltemi.model.service import visible
from meltemi.translate import names, rules
from meltemi.translate.rules import DestinationRules


class RouteOf(NamedTuple):
    """A route, and the `NAMESPACE/NAME` of the VirtualService that it is of."""

    rule: str
    route: HttpRoute


@dataclass(frozen=True, slots=True)
class VirtualHost:
    domain: str
    routes: tuple[RouteOf, ...]
    https_redirect: bool = False


@dataclass(frozen=True, slots=True)
class GatewayPort:
    """All that the listener and the routes of one port are made from."""

    number: int
    host_port: int | None
    hosts: tuple[VirtualHost, ...]
    only_ports: tuple[tuple[str, int], ...] = ()
    """Hosts of destinations that have one port: it is meant where the destination says none."""
    hashed: tuple[tuple[str, ConsistentHash], ...] = ()
    """The clusters that balance by hash, and by what."""

    def cluster(self, host: str, subset: str, port: int | None) -> str:
        """Whether or not that host or subset exists: Envoy's answer is 503."""
        return names.outbound(port or dict(self.only_ports).get(host, self.number), subset, host)


class Gateways:
    """The Gateways of a mesh, and the VirtualServices that name them."""

    def __init__(
        self, gateways: tuple[Gateway, ...], virtual_services: tuple[VirtualService, ...]
    ) -> None:
        """Each in the order of namespace and name."""
        self.made_from = (gateways, virtual_services)
        self._gateways = gateways
        self._rules: dict[str, list[VirtualService]] = {}
        for rule in virtual_services:
            for gateway in dict.fromkeys(rule.gateways):
                self._rules.setdefault(gateway, []).append(rule)

    def ports(
        self,
        workload: Workload,
        services: Mapping[str, Service],
        destination_rules: DestinationRules,
    ) -> tuple[GatewayPort, ...]:
        """What a workload opens, in the order of the numbers."""
        servers: dict[int, list[tuple[Gateway, GatewayServer]]] = {}
        for gateway in self._gateways:
            if gateway.selects(workload.labels):
                for server in gateway.servers:
                    servers.setdefault(server.number, []).append((gateway, server))
        host_ports = {port.port: port.host_port for port in workload.ports}
        made = (
            GatewayPort(number, host_ports.get(number), tuple(self._hosts(number, of, workload)))
            for number, of in sorted(servers.items())
            if not any(server.refused for _, server in of)
        )
        return tuple(_resolved(port, workload, services, destination_rules) for port in made)

    def _hosts(
        self, number: int, servers: list[tuple[Gateway, GatewayServer]], workload: Workload
    ) -> Iterator[VirtualHost]:
        found: dict[str, list[RouteOf]] = {}
        redirected: dict[str, bool] = {}
        for gateway, server in servers:
            taken = self._of_server(gateway, server, workload.namespace)
            for domain, rule in taken:
                routes = _for_gateway(rule, gateway.full_name, number, workload)
                found.setdefault(domain, []).extend(routes)
                redirected[domain] = redirected.get(domain, False) or server.https_redirect
            if server.https_redirect:
                for _, domain in server.hosts:
                    found.setdefault(domain, [])
                    redirected[domain] = True
        for domain, of_domain in found.items():
            catching = [each for each in of_domain if _takes_all(each.route)]
            others = [each for each in of_domain if not _takes_all(each.route)]
            yield VirtualHost(domain, (*others, *catching), redirected[domain])

    def _of_server(
        self, gateway: Gateway, server: GatewayServer, namespace: str
    ) -> Iterator[tuple[str, VirtualService]]:
        """The hosts that both name, each once a rule."""
        for rule in self._rules.get(gateway.full_name, ()):
            if not visible(rule.export_to, rule.namespace, namespace):
                continue
            theirs = [host for wanted, host in server.hosts if wanted in ("*", rule.namespace)]
            both = (narrower(own, host) for own in rule.hosts for host in theirs)
            for domain in dict.fromkeys(each for each in both if each is not None):
                yield domain, rule


def _for_gateway(
    rule: VirtualService, gateway: str, number: int, workload: Workload
) -> Iterator[RouteOf]:
    """In them only what a request decides."""
    labels = set(workload.labels)
    name = f"{rule.namespace}/{rule.name}"
    for route in rule.routes:
        matches = tuple(
            replace(match, gateways=(), port=None, source_labels=(), source_namespace="")
            for match in route.matches
            if (not match.gateways or gateway in match.gateways)
            and match.port in (None, number)
            and labels.issuperset(match.source_labels)
            and match.source_namespace in ("", workload.namespace)
        )
        if matches or not route.matches:
            yield RouteOf(name, replace(route, matches=matches))


def _takes_all(route: HttpRoute) -> bool:
    return not route.matches


def _resolved(
    port: GatewayPort,
    workload: Workload,
    services: Mapping[str, Service],
    destination_rules: DestinationRules,
) -> GatewayPort:
    """With what services and their rules say of the destinations."""
    targets = {
        (to.destination.host, to.destination.subset, to.destination.port)
        for host in port.hosts
        for each in host.routes
        for to in each.route.destinations
    }
    mirrored = {
        mirror.destination.host
        for host in port.hosts
        for each in host.routes
        for mirror in each.route.mirrors
    }
    called = sorted({host for host, _, _ in targets} | mirrored)
    known = [services[host] for host in called if host in services]
    only = tuple((each.hostname, each.ports[0].number) for each in known if len(each.ports) == 1)
    port = replace(port, only_ports=only)
    governing = {each.hostname: destination_rules.rule(each, workload.namespace) for each in known}
    wanted = sorted(targets, key=lambda target: (target[0], target[1], target[2] or 0))
    return replace(port, hashed=tuple(_hashed(port, wanted, governing)))


def _hashed(
    port: GatewayPort,
    targets: Iterable[tuple[str, str, int | None]],
    governing: Mapping[str, DestinationRule | None],
) -> Iterator[tuple[str, ConsistentHash]]:
    only = dict(port.only_ports)
    for host, subset_name, number in targets:
        rule = governing.get(host)
        subset = rules.subsets(rule).get(subset_name) if rule else None
        if subset is None:
            continue
        at = number or only.get(host, port.number)
        policy = rules.policy(rule, subset if subset.name else None, at)
        if isinstance(policy.load_balancer, ConsistentHash):
            yield port.cluster(host, subset_name, number), policy.load_balancer

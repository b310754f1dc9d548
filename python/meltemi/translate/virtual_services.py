"""Which VirtualService holds for a host and a caller, and which of its routes.

Istio's rules (pilot/pkg/networking/core/route): the most specific host wins, and what is asked of
the caller (labels, namespace) is decided here, not by the client. Where no route is for the caller,
the service is called as if there was no rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from meltemi.model import HttpRoute, Service, VirtualService
from meltemi.model.service import visible

Labels = tuple[tuple[str, str], ...]
Caller = frozenset[Labels]
"""Which of the label selectors that rules ask with a caller fulfils."""

NOBODY: Caller = frozenset()


@dataclass(frozen=True, slots=True)
class HttpRules:
    """The routes of a host for one kind of caller, and what clusters they lead to."""

    namespace: str
    name: str
    routes: tuple[HttpRoute, ...]
    """In them only what a request decides: path, method, headers, port."""
    only_ports: tuple[tuple[str, int], ...]
    """Hosts of destinations that have one port: it is meant where the destination says none."""


class VirtualServices:
    """Those of a mesh, ready to be asked for many hosts and callers."""

    def __init__(self, services: tuple[VirtualService, ...]) -> None:
        """In the order of namespace and name: the first for a host wins."""
        self._exact: dict[str, list[VirtualService]] = {}
        wildcards: dict[str, list[VirtualService]] = {}
        for each in services:
            for host in each.hosts:
                if host.startswith("*"):
                    wildcards.setdefault(host[1:], []).append(each)
                else:
                    self._exact.setdefault(host, []).append(each)
        self._wildcards = dict(sorted(wildcards.items(), key=lambda item: -len(item[0])))
        matches = [match for each in services for route in each.routes for match in route.matches]
        self._selectors = frozenset(match.source_labels for match in matches) - {()}
        self.source_namespaces = frozenset(match.source_namespace for match in matches) - {""}

    def caller(self, labels: Labels) -> Caller:
        """What rules can tell of who carries these labels."""
        if not self._selectors:
            return NOBODY
        carried = set(labels)
        return frozenset(wanted for wanted in self._selectors if carried.issuperset(wanted))

    def rules(
        self, service: Service, namespace: str, caller: Caller, services: Mapping[str, Service]
    ) -> HttpRules | None:
        """None: the service has no rule for that caller."""
        found = self._of_host(service.hostname, namespace)
        if found is None:
            return None
        routes = tuple(_for_caller(found.routes, namespace, caller))
        if not routes:
            return None
        hosts = {to.destination.host for route in routes for to in route.destinations}
        known = (services[host] for host in sorted(hosts) if host in services)
        only = tuple(
            (each.hostname, each.ports[0].number) for each in known if len(each.ports) == 1
        )
        return HttpRules(found.namespace, found.name, routes, only)

    def _of_host(self, hostname: str, namespace: str) -> VirtualService | None:
        found = _first(self._exact.get(hostname, ()), namespace)
        for suffix, rules in self._wildcards.items() if found is None else ():
            if hostname.endswith(suffix):
                found = _first(rules, namespace)
                if found is not None:
                    break
        return found


def _first(rules: Iterable[VirtualService], namespace: str) -> VirtualService | None:
    return next((r for r in rules if visible(r.export_to, r.namespace, namespace)), None)


def _for_caller(routes: Iterable[HttpRoute], namespace: str, caller: Caller) -> Iterable[HttpRoute]:
    for route in routes:
        matches = tuple(
            replace(match, source_labels=(), source_namespace="")
            for match in route.matches
            if (not match.source_labels or match.source_labels in caller)
            and match.source_namespace in ("", namespace)
        )
        if matches or not route.matches:
            yield replace(route, matches=matches)

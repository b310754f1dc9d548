"""Which way a call of a client without a sidecar would take: the engine's own decision
(`meltemi.engine.Router`) over the resources that such a client gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meltemi.engine import Router
from meltemi.model import Mesh, MetaRouter, Service, ServicePort
from meltemi.model.protocol import ENGINE_CODECS
from meltemi.translate import Resources
from meltemi.translate.index import Index, codecs
from meltemi.xds import messages
from meltemi.xds.resource import Node

_ORDER: Final = (messages.CLUSTER, messages.ENDPOINT, messages.ROUTE, messages.LISTENER)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which object decides, and its kind; no name where none does."""

    kind: str = ""
    name: str = ""

    @property
    def written(self) -> str:
        return f"{self.kind} {self.name}" if self.name else "none"


def rule_of(
    mesh: Mesh, service: Service, port: ServicePort, node: Node, router: MetaRouter | None
) -> Rule:
    """A MetaRouter where the port's protocol is read, else a VirtualService."""
    read = codecs(mesh).get(port.protocol, "") in ENGINE_CODECS
    if read and router is not None and router.routes and not router.lanes_only:
        return Rule("MetaRouter", f"{router.namespace}/{router.name}")
    index = Index(mesh)
    namespace = index.namespace(node.namespace)
    found = index.virtual_services.rules(service, namespace, index.caller(node), mesh.services)
    return Rule("VirtualService", f"{found.namespace}/{found.name}") if found else Rule()


def destinations(mesh: Mesh, service: Service) -> set[str]:
    """Hosts that VirtualServices for the service lead to."""
    return {
        to.destination.host
        for rule in mesh.virtual_services
        if any(_concerns(host, service.hostname) for host in rule.hosts)
        for route in rule.routes
        for to in route.destinations
    }


def _concerns(host: str, hostname: str) -> bool:
    return host == hostname or (host.startswith("*") and hostname.endswith(host[1:]))


def decide(
    resources: Resources, target: str, path: str, attributes: Mapping[str, str]
) -> dict[str, Any]:
    """The engine's account. `target` is `HOSTNAME:PORT`."""
    router = Router(seed=0)
    for type_url in _ORDER:
        held = resources[type_url].values()
        router.update(type_url, "explained", [(each.name, each.body) for each in held])
    headers = [(":method", "POST"), *attributes.items()]
    return dict(router.explain(target, target, path, headers))


def changes(of: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Each with `key`, and `value` or `remove`; `add` where one that is there stays."""
    return [
        {"key": name, "remove": True}
        if word == "remove"
        else {"key": name, "value": value, **({"add": True} if word == "add" else {})}
        for word, name, value in of
    ]

"""Rules that are valid one by one and wrong together: what they lead to, and which of them wins.

Findings that Istio has too carry Istio's codes and levels (pkg/config/analysis/msg)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from meltemi.config import Issue, Object
from meltemi.config.load import of_kind
from meltemi.config.rules.names import full_host
from meltemi.config.schema.virtual_service import Destination, VirtualServiceSpec
from meltemi.config.virtual_services import holds_for_mesh, hosts
from meltemi.model import Mesh, MetaRouter, Service
from meltemi.model.protocol import ENGINE_CODECS
from meltemi.translate.index import codecs

CONFLICTING_HOSTS = "IST0109"
NOT_FOUND = "IST0101"
PORT_REQUIRED = "IST0112"
CONFLICTING_PROTOCOLS = "IST0177"
SELECTS_NOTHING = "IST0173"
UNKNOWN_HOST = "IST0174"


def conflicting_hosts(objects: Sequence[Object]) -> Iterator[Issue]:
    """VirtualServices that a caller sees both of, for one host or a part of it."""
    rules = [item for item in of_kind(objects, "VirtualService") if holds_for_mesh(item.spec)]
    for item in rules:
        own = hosts(item.spec, item.ref.namespace)
        others = [
            (other, number)
            for other in rules
            if other is not item and _see_both(item, other)
            for number in _shared(own, hosts(other.spec, other.ref.namespace))
        ]
        if others:
            number = others[0][1]
            named = sorted({f"{other.ref.namespace}/{other.ref.name}" for other, _ in others})
            many = "s" if len(named) > 1 else ""
            yield item.issue(
                ("spec", "hosts", number), "error", CONFLICTING_HOSTS,
                f"VirtualService{many} {', '.join(named)} for requests to {own[number]} too: "
                "of one host the lowest namespace/name wins, of several the narrowest",
                "put the routes into one VirtualService, or part them by exportTo",
            )  # fmt: skip


def _see_both(left: Object, right: Object) -> bool:
    seen = [_visible(item) for item in (left, right)]
    return None in seen or bool((seen[0] or set()) & (seen[1] or set()))


def _visible(item: Object) -> set[str] | None:
    """Namespaces; None for all."""
    export_to = item.spec.export_to or ["*"]
    if "*" in export_to:
        return None
    return {item.ref.namespace if name == "." else name for name in export_to}


def _shared(own: Sequence[str], others: Sequence[str]) -> list[int]:
    """The places of hosts of which another is part, or that are part of another."""
    return [
        number
        for number, host in enumerate(own)
        if any(host == other or _within(host, other) or _within(other, host) for other in others)
    ]


def _within(host: str, wide: str) -> bool:
    return wide.startswith("*") and host.removeprefix("*").endswith(wide[1:])


def meta_router_wins(objects: Sequence[Object], mesh: Mesh) -> Iterator[Issue]:
    """A MetaRouter decides for the ports whose protocol is read, whatever a VirtualService says."""
    read = codecs(mesh)
    routers = {router.host: router for router in mesh.meta_routers if _routes(router)}
    for item in of_kind(objects, "VirtualService"):
        for number, host in enumerate(hosts(item.spec, item.ref.namespace)):
            router, service = routers.get(host), mesh.services.get(host)
            if router is None or service is None or not holds_for_mesh(item.spec):
                continue
            its = [p for p in service.ports if read.get(p.protocol) in ENGINE_CODECS]
            rest = [port for port in service.ports if port not in its]
            if its:
                theirs = ", ".join(f"{port.number} ({port.protocol})" for port in its)
                left = ", ".join(str(port.number) for port in rest)
                yield item.issue(
                    ("spec", "hosts", number), "warning", "meta-router-wins",
                    f"MetaRouter {router.namespace}/{router.name} decides for port {theirs} of "
                    f"{host}" + ("" if left else ": this rule has no effect"),
                    f"this rule holds for port {left}" if left else "keep one of the two",
                )  # fmt: skip


def _routes(router: MetaRouter) -> bool:
    """Those of lanes alone are in VirtualServices too."""
    return bool(router.routes) and not router.lanes_only


def destinations(objects: Sequence[Object], mesh: Mesh) -> Iterator[Issue]:
    """Subsets that nobody defines, and services of several ports of which none is said."""
    subsets: dict[str, set[str]] = {}
    for rule in mesh.destination_rules:
        names = {subset.name for subset in rule.subsets}
        subsets.setdefault(rule.host, set()).update(names)
    for item in of_kind(objects, "VirtualService"):
        for path, to in _destinations(item.spec):
            host = full_host(to.host, item.ref.namespace)
            known = set().union(
                *(names for wide, names in subsets.items() if wide == host or _within(host, wide))
            )
            if to.subset and to.subset not in known:
                yield item.issue(
                    (*path, "subset"), "error", NOT_FOUND,
                    f"no DestinationRule of {host} has a subset {to.subset}",
                    f"its subsets: {', '.join(sorted(known))}" if known else "it has no subsets",
                )  # fmt: skip
            yield from _port(item, path, to, mesh.services.get(host))


def _destinations(
    spec: VirtualServiceSpec,
) -> Iterator[tuple[tuple[str | int, ...], Destination]]:
    for number, route in enumerate(spec.http or ()):
        place: tuple[str | int, ...] = ("spec", "http", number)
        for position, to in enumerate(route.route or ()):
            yield (*place, "route", position, "destination"), to.destination
        if route.mirror is not None:
            yield (*place, "mirror"), route.mirror
        for position, mirror in enumerate(route.mirrors or ()):
            yield (*place, "mirrors", position, "destination"), mirror.destination


def _port(
    item: Object, path: tuple[str | int, ...], to: Destination, service: Service | None
) -> Iterator[Issue]:
    if service is None:
        return
    numbers = [port.number for port in service.ports]
    listed = ", ".join(map(str, numbers))
    wanted = to.port.number if to.port is not None else None
    if wanted is None and len(numbers) > 1:
        yield item.issue(
            path, "error", PORT_REQUIRED,
            f"{service.hostname} has several ports ({listed}), and none is said",
            f"port: {{number: {numbers[0]}}}",
        )  # fmt: skip
    elif wanted is not None and numbers and wanted not in numbers:
        yield item.issue(
            (*path, "port"), "error", "unknown-port",
            f"{service.hostname} has no port {wanted}", f"its ports: {listed}",
        )  # fmt: skip


def destination_rules(
    objects: Sequence[Object], mesh: Mesh, pods: Sequence[tuple[str, Mapping[str, str]]]
) -> Iterator[Issue]:
    """Rules for hosts that are not there, and subsets that are nobody: neither a workload of the
    mesh nor one of `pods`, whose namespaces and labels are given."""
    for item in of_kind(objects, "DestinationRule"):
        host = full_host(item.spec.host, item.ref.namespace)
        concerned = [s for name, s in mesh.services.items() if name == host or _within(name, host)]
        if not concerned:
            yield item.issue(
                ("spec", "host"), "warning", UNKNOWN_HOST,
                f"there is no service {host}: the rule has no effect",
                "name a service of the mesh",
            )  # fmt: skip
            continue
        behind = [set(each.labels) for of in concerned for _, some in of.endpoints for each in some]
        if not behind and all(service.external for service in concerned):
            continue  # its endpoints are found by their name
        near = {service.namespace for service in concerned}
        behind += [set(labels.items()) for namespace, labels in pods if namespace in near]
        for number, subset in enumerate(item.spec.subsets or ()):
            wanted = set((subset.labels or {}).items())
            if wanted and not any(wanted.issubset(labels) for labels in behind):
                yield item.issue(
                    ("spec", "subsets", number), "warning", SELECTS_NOTHING,
                    f"subset {subset.name} of {host} selects no workload: "
                    "its requests are answered with an error",
                    "give a workload these labels",
                )  # fmt: skip


def service_entries(objects: Sequence[Object]) -> Iterator[Issue]:
    """Of one host and port with different protocols."""
    said: dict[tuple[str, int], tuple[str, Object]] = {}
    for item in of_kind(objects, "ServiceEntry"):
        for number, port in enumerate(item.spec.ports or ()):
            for host in item.spec.hosts:
                protocol = (port.protocol or "").upper()
                known = said.setdefault((host.lower(), port.number), (protocol, item))
                if known[0] != protocol and known[1] is not item:
                    other = known[1].ref
                    yield item.issue(
                        ("spec", "ports", number), "warning", CONFLICTING_PROTOCOLS,
                        f"{host}:{port.number} is {known[0] or 'of no protocol'} in "
                        f"{other.namespace}/{other.name}, and {protocol or 'of no protocol'} here",
                        "say the same protocol in both",
                    )  # fmt: skip

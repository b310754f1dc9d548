"""Istio's rules for `VirtualService`: hosts, gateways, tls and tcp routes.

Those of http routes: `virtual_service_http`."""

from __future__ import annotations

from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names, virtual_service_http
from meltemi.config.rules.virtual_service_http import MESH

_NOT_OF_DELEGATES = ("gateways", "tls", "tcp")


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    hosts = list(spec["hosts"].items)
    gateways = list(spec["gateways"].items)
    if not hosts:
        yield from _delegate(spec)
    mesh = not gateways or any(gateway.text == MESH for gateway in gateways)
    yield from _hosts(hosts, mesh)
    yield from _gateways(gateways)
    if not any(spec[kind].value for kind in ("http", "tls", "tcp")):
        yield spec.warning(
            "no-effect", "there are no routes: the object has no effect", "http: [{route: …}]"
        )
    yield from virtual_service_http.check(spec["http"])
    yield from _tls(spec["tls"], [host.text for host in hosts])
    for route in spec["tcp"].items:
        yield from _tcp_matches(route["match"])
        yield from _layer4(route)
    yield from names.export_to(spec["exportTo"], namespace)


def _delegate(spec: Place) -> Iterator[Finding]:
    for field in _NOT_OF_DELEGATES:
        if spec[field].value:
            yield spec[field].error(
                "invalid-delegate", f"a VirtualService without hosts has no {field}", "hosts: […]"
            )
    for route in spec["http"].items:
        if route["delegate"].there:
            yield route["delegate"].error(
                "invalid-delegate", "what is delegated to cannot delegate", "hosts: […]"
            )
    yield spec["hosts"].warning(
        "not-there-yet", "a VirtualService without hosts, to delegate to, is not there yet",
        "the object has no effect",
    )  # fmt: skip


def _hosts(hosts: list[Place], mesh: bool) -> Iterator[Finding]:
    for place, host in enumerate(hosts):
        wrong = names.wildcard_host_error(host.text)
        if wrong and not names.is_address(host.text):
            yield host.error("invalid-host", wrong, "the name of a service")
        elif mesh and host.text == "*":
            yield host.error(
                "invalid-host", "'*' is not for callers inside the mesh", "name the service"
            )
        for earlier in hosts[:place]:
            if _overlap(earlier.text.lower(), host.text.lower()):
                yield host.error(
                    "duplicate-value", f"{host.text!r} is among {earlier.text!r}", "leave one out"
                )
                break


def _overlap(one: str, other: str) -> bool:
    """Whether a name can be both (Istio's `host.Name.Matches`)."""
    if one.startswith("*") and other.startswith("*"):
        return one.endswith(other[1:]) or other.endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other.startswith("*") else one == other


def _gateways(gateways: list[Place]) -> Iterator[Finding]:
    for gateway in gateways:
        wrong = virtual_service_http.gateway_error(gateway.text)
        if wrong:
            yield gateway.error("invalid-gateway", wrong, "NAMESPACE/NAME, or mesh")


def _tls(routes: Place, hosts: list[str]) -> Iterator[Finding]:
    for route in routes.items:
        if route["match"].there and not route["match"].value:
            yield route["match"].error(
                "missing-field", "a tls route needs a match", "sniHosts: […]"
            )
        for match in route["match"].items:
            sni_hosts = match["sniHosts"]
            if sni_hosts.there and not sni_hosts.value:
                yield sni_hosts.error("missing-field", "sniHosts is empty", "the name of a host")
            for sni in sni_hosts.items:
                wrong = names.wildcard_host_error(sni.text)
                if wrong:
                    yield sni.error("invalid-host", wrong, "the name of a host")
                elif not any(_covers(host.lower(), sni.text.lower()) for host in hosts):
                    yield sni.error(
                        "invalid-host", f"{sni.text!r} is not among the hosts", "one of spec.hosts"
                    )
            yield from _layer4_match(match)
        yield from _layer4(route)


def _covers(host: str, sni: str) -> bool:
    return sni.endswith(host[1:]) if host.startswith("*") else sni == host


def _tcp_matches(matches: Place) -> Iterator[Finding]:
    for match in matches.items:
        yield from _layer4_match(match)
        subnet = match["sourceSubnet"]
        if subnet.text and not names.is_subnet(subnet.text):
            yield subnet.error("bad-value", f"{subnet.text!r} is not a subnet")


def _layer4_match(match: Place) -> Iterator[Finding]:
    for subnet in match["destinationSubnets"].items:
        if not names.is_subnet(subnet.text):
            yield subnet.error(
                "bad-value", f"{subnet.text!r} is not a subnet", "such as 10.0.0.0/8"
            )
    yield from virtual_service_http.caller(match)


def _layer4(route: Place) -> Iterator[Finding]:
    if not route["route"].value:
        yield route["route"].error("missing-field", "the route has no destination", "route: […]")
    yield from virtual_service_http.destinations(route["route"])

"""Istio's rules for `ServiceEntry`."""

from __future__ import annotations

from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names, workload_entry

_DNS = ("DNS", "DNS_ROUND_ROBIN")


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    resolution = spec["resolution"].text or "NONE"
    yield from _selector(spec)
    yield from _hosts(spec)
    yield from _addresses(spec, resolution)
    yield from _ports(spec, resolution)
    if resolution == "NONE":
        yield from _none(spec)
    elif resolution == "STATIC":
        for endpoint in spec["endpoints"].items:
            yield from workload_entry.endpoint(endpoint, _port_names(spec), host_names=False)
    elif resolution in _DNS:
        yield from _dns(spec, resolution)
    elif resolution == "DYNAMIC_DNS":
        yield from _dynamic_dns(spec)
    yield from names.export_to(spec["exportTo"], namespace, service_entry=True)


def _port_names(spec: Place) -> frozenset[str]:
    return frozenset(port["name"].text for port in spec["ports"].items)


def _selector(spec: Place) -> Iterator[Finding]:
    selector = spec["workloadSelector"]
    if not selector.there:
        return
    if spec["endpoints"].value:
        yield spec["endpoints"].error(
            "one-of", "endpoints and workloadSelector exclude each other", "keep one of them"
        )
    entries = list(selector["labels"].entries)
    if not entries:
        yield selector.warning(
            "empty-selector", "a selector without labels takes every workload of the namespace"
        )
    yield from selector_labels(selector["labels"])


def selector_labels(labels: Place) -> Iterator[Finding]:
    """No empty keys and no wildcards."""
    for key, value in labels.entries:
        if not key:
            yield value.error("invalid-selector", "the key of a label is empty")
        if "*" in key or "*" in value.text:
            yield value.error("invalid-selector", "a selector takes no wildcards")
        if len(value.text) > names.LONGEST_LABEL:
            yield value.error(
                "invalid-selector", f"the value has more than {names.LONGEST_LABEL} characters"
            )


def _hosts(spec: Place) -> Iterator[Finding]:
    for host in spec["hosts"].items:
        if host.text == "*":
            yield host.error(
                "invalid-host", "'*' is no host", "a name, or a wildcard such as *.example.com"
            )
            continue
        wrong = names.wildcard_host_error(host.text) if isinstance(host.value, str) else None
        if wrong:
            yield host.error("invalid-host", wrong, "such as api.example.com")
        elif "*" in host.text:
            if not host.text.startswith("*."):
                yield host.warning(
                    "partial-wildcard", f"{host.text!r} is a wildcard of part of a label",
                    "few proxies support that: use *.example.com",
                )  # fmt: skip
            yield host.warning(
                "not-there-yet", f"{host.text!r}: wildcard hosts are not there yet",
                "nobody in the mesh can call it",
            )  # fmt: skip


def _addresses(spec: Place, resolution: str) -> Iterator[Finding]:
    for address in spec["addresses"].items:
        if not isinstance(address.value, str):
            continue
        if len(address.text) > 64 or not names.is_subnet(address.text):
            yield address.error(
                "invalid-address", f"{address.text!r} is not an IP address",
                "such as 240.0.0.1 or 240.0.0.0/24",
            )  # fmt: skip
        elif "/" in address.text and resolution not in ("NONE", "STATIC"):
            yield address.error(
                "cidr-resolution", f"{address.text!r}: resolution {resolution} takes no ranges",
                "use resolution NONE or STATIC",
            )  # fmt: skip


def _ports(spec: Place, resolution: str) -> Iterator[Finding]:
    seen_names: set[str] = set()
    seen_numbers: set[float] = set()
    for port in spec["ports"].items:
        name, number = port["name"], port["number"]
        if name.there and not names.is_label(name.text):
            yield name.error("invalid-port-name", f"{name.text!r} is not the name of a port")
        if name.text in seen_names:
            yield name.error("duplicate-port", f"the port name {name.text!r} is there twice")
        if number.there and number.number in seen_numbers:
            yield number.error("duplicate-port", f"port {number.value} is there twice")
        seen_names.add(name.text)
        seen_numbers.add(number.number)
        protocol = port["protocol"]
        if protocol.text and protocol.text.lower() not in names.PROTOCOLS:
            yield protocol.error(
                "unknown-protocol", f"{protocol.text!r} is not a protocol that Istio knows",
                "HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS; ours go into the port's name: "
                "protocol: TCP, name: tcp-metaprotocol-thrift",
            )  # fmt: skip
        if port["targetPort"].there and resolution == "NONE":
            yield port["targetPort"].warning(
                "no-effect", "targetPort has no effect with resolution NONE"
            )
    if resolution != "NONE" and len(list(spec["hosts"].items)) > 1:
        for port in spec["ports"].items:
            kind = port["protocol"].text.lower()
            if kind not in names.HTTP_PROTOCOLS and kind not in names.TLS_PROTOCOLS:
                yield port.error(
                    "many-hosts", "several hosts cannot share a port that is neither HTTP nor TLS",
                    "one ServiceEntry a host",
                )  # fmt: skip
                break


def _none(spec: Place) -> Iterator[Finding]:
    if spec["endpoints"].value:
        yield spec["endpoints"].error(
            "none-endpoints", "resolution NONE takes no endpoints",
            "use resolution: STATIC for addresses, DNS for names",
        )  # fmt: skip
    if spec["workloadSelector"].there:
        yield spec["workloadSelector"].warning(
            "no-effect", "workloadSelector has no effect with resolution NONE",
            "use resolution: STATIC",
        )  # fmt: skip
    elif not spec["endpoints"].value:
        yield spec["resolution"].warning(
            "not-there-yet", "spec.resolution: NONE is not there yet",
            "callers get an error, no endpoint; use resolution: STATIC",
        )  # fmt: skip


def _dns(spec: Place, resolution: str) -> Iterator[Finding]:
    endpoints = list(spec["endpoints"].items)
    if not endpoints:
        for host in spec["hosts"].items:
            if names.host_error(host.text) and not names.wildcard_host_error(host.text):
                yield host.error(
                    "dns-wildcard", f"{host.text!r} cannot be looked up: it is a wildcard",
                    "list endpoints, or use a full name",
                )  # fmt: skip
    if resolution == "DNS_ROUND_ROBIN" and len(endpoints) > 1:
        yield spec["endpoints"].error(
            "dns-endpoints", "resolution DNS_ROUND_ROBIN takes one endpoint at most"
        )
    known = _port_names(spec)
    for endpoint in endpoints:
        address = endpoint["address"]
        if not names.is_address(address.text) and names.host_error(address.text):
            yield address.error(
                "invalid-address", f"{address.text!r} is neither an IP address nor a host name"
            )
        yield from workload_entry.port_names(endpoint["ports"], known)
        yield from names.labels(endpoint["labels"])
    if spec["workloadSelector"].there:
        yield spec["workloadSelector"].warning(
            "no-effect", f"workloadSelector does not go with resolution {resolution}",
            "use resolution: STATIC",
        )  # fmt: skip
    if spec["addresses"].value and len(list(spec["hosts"].items)) > 1:
        for port in spec["ports"].items:
            if port["protocol"].text.lower() in ("tcp", "https", "tls", "mongo", "redis", "mysql"):
                yield port.warning(
                    "many-hosts", "several hosts with one address cannot be told apart on this port"
                )
                break


def _dynamic_dns(spec: Place) -> Iterator[Finding]:
    for host in spec["hosts"].items:
        if isinstance(host.value, str) and not host.text.startswith("*"):
            yield host.error(
                "dynamic-dns", f"{host.text!r} is not a wildcard: DYNAMIC_DNS is for wildcards",
                "use resolution: DNS",
            )  # fmt: skip
    for field in ("addresses", "endpoints", "workloadSelector"):
        if spec[field].value or (field == "workloadSelector" and spec[field].there):
            yield spec[field].error("dynamic-dns", f"resolution DYNAMIC_DNS takes no {field}")
    for port in spec["ports"].items:
        kind = port["protocol"].text.lower()
        if kind not in names.HTTP_PROTOCOLS and kind not in names.TLS_PROTOCOLS:
            yield port["protocol"].error(
                "dynamic-dns", "resolution DYNAMIC_DNS needs an HTTP or TLS protocol"
            )

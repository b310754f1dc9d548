"""Istio's rules for `WorkloadEntry` and for the endpoints of a `ServiceEntry`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meltemi.config.issues import Finding, written
from meltemi.config.place import Place
from meltemi.config.rules import names

UNIX = "unix://"
_CRD_PORT_NAME = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    """The rules of a `WorkloadEntry` of its own."""
    yield from endpoint(spec, None, host_names=True)


def endpoint(
    spec: Place, service_ports: frozenset[str] | None, *, host_names: bool
) -> Iterator[Finding]:
    """`service_ports`: names of the ports of the service, where that is known."""
    address = spec["address"].text
    unix = address.startswith(UNIX)
    if not address:
        if not spec["network"].text:
            yield spec["address"].error(
                "missing-address", "address is missing", "an IP address, a host name or network"
            )
            return
        yield spec["address"].warning(
            "missing-address", "without an address nothing in this mesh can reach it"
        )
    elif unix:
        yield from _unix(spec["address"], address.removeprefix(UNIX), spec["ports"])
        if service_ports is not None and len(service_ports) != 1:
            yield spec["address"].error(
                "unix-port", "a Unix socket serves exactly one port of a service"
            )
    elif not names.is_address(address):
        if not host_names:
            yield spec["address"].error(
                "invalid-address", f"{address!r} is not an IP address",
                "resolution STATIC takes IP addresses; host names need resolution DNS",
            )  # fmt: skip
        elif names.host_error(address):
            yield spec["address"].error(
                "invalid-address", f"{address!r} is neither an IP address nor a host name",
                "no port and no scheme",
            )  # fmt: skip
    yield from port_names(spec["ports"], service_ports)
    yield from names.labels(spec["labels"])


def _unix(place: Place, path: str, ports: Place) -> Iterator[Finding]:
    if not path.startswith(("/", "@")):
        yield place.error("invalid-address", f"{path!r} is not an absolute path")
    elif path.endswith("/"):
        yield place.error("invalid-address", f"{path!r} is a folder")
    if ports.there:
        yield ports.error("unix-port", "a Unix socket has no ports", "leave ports out")
    yield place.warning(
        "not-there-yet", f"{written(place.path)}: Unix sockets are not there yet",
        "requests to it are answered with an error",
    )  # fmt: skip


def port_names(ports: Place, service_ports: frozenset[str] | None) -> Iterator[Finding]:
    """Names are DNS labels, and known to the service where that is known."""
    for name, port in ports.entries:
        if not _CRD_PORT_NAME.fullmatch(name) or len(name) >= names.LONGEST_LABEL:
            yield port.error("invalid-port-name", f"{name!r} is not the name of a port")
        elif service_ports is not None and name not in service_ports:
            known = ", ".join(sorted(service_ports)) or "none"
            yield port.error(
                "unknown-port", f"the service has no port {name!r}", f"its ports: {known}"
            )

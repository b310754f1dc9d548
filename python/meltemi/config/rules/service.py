"""Kubernetes' rules for `Service`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names

_PORT_NAME = re.compile(r"(?!.*--)(?=.*[a-z])[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    ports = list(spec["ports"].items)
    kind = spec["type"].text
    if kind == "ExternalName":
        if not spec["externalName"].text:
            yield spec.error("missing-field", "type ExternalName needs externalName")
    elif not ports and spec["clusterIP"].text != "None":
        yield spec["ports"].error("missing-field", "the service has no ports")
    seen_names: set[str] = set()
    seen_numbers: set[tuple[float, str]] = set()
    for port in ports:
        name = port["name"]
        if len(ports) > 1 and not name.text:
            yield port.error("missing-field", "with several ports each needs a name")
        if name.text:
            if names.label_error(name.text):
                yield name.error("invalid-port-name", f"{name.text!r} is not the name of a port")
            if name.text in seen_names:
                yield name.error("duplicate-port", f"the port name {name.text!r} is there twice")
            seen_names.add(name.text)
        number = port["port"]
        key = (number.number, port["protocol"].text or "TCP")
        if number.there and key in seen_numbers:
            yield number.error("duplicate-port", f"port {number.value} is there twice")
        seen_numbers.add(key)
        yield from target_port(port["targetPort"])
    yield from names.metadata_labels(spec["selector"])


def target_port(target: Place) -> Iterator[Finding]:
    """A number, or the name of a port of the workload (IANA service name)."""
    if isinstance(target.value, str):
        if len(target.text) > 15 or not _PORT_NAME.fullmatch(target.text):
            yield target.error(
                "invalid-port-name", f"{target.text!r} is not the name of a port",
                "at most 15 of a-z, 0-9 and '-'; a number goes without quotes",
            )  # fmt: skip
    elif target.there and not 1 <= target.number <= 65535:
        yield target.error("bad-value", f"port {target.value} is not from 1 to 65535")

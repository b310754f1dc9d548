"""Our rules for `Workload` and `ApplicationProtocol`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GIVEN = frozenset(("HOST", "PORT", "POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"))
"""What the mesh itself says in a workload's environment."""


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    command = spec["command"]
    gateway = spec["mesh"].text == "gateway"
    if gateway and command.value:
        yield command.warning(
            "no-effect", "a gateway runs Envoy: command has no effect", "leave it out"
        )
    elif not command.value and not gateway:
        yield command.error("missing-field", "command is missing", "command: [python, server.py]")
    elif any(isinstance(part.value, str) and not part.text for part in list(command.items)[:1]):
        yield command[0].error("bad-value", "the program's name is empty")
    for part in (*command.items, *(value for _, value in spec["env"].entries)):
        if "\0" in part.text:
            yield part.error("bad-value", "a command and its environment hold no NUL byte")
    for name, value in spec["env"].entries:
        if not _VARIABLE.fullmatch(name):
            yield value.error("bad-value", f"{name!r} is not the name of a variable")
        elif name in GIVEN or name.startswith("PORT_"):
            yield value.warning(
                "given-variable", f"{name} is set by the mesh: this value takes its place"
            )
    yield from _ports(spec["ports"])
    if spec["mesh"].text not in ("", "sidecar", "gateway"):
        for port in spec["ports"].items:
            if port["hostPort"].there:
                yield port["hostPort"].warning(
                    "no-effect", f"hostPort has no effect with mesh: {spec['mesh'].text}",
                    "it is the sidecar or the gateway that listens there",
                )  # fmt: skip
    if spec["replicas"].number > 1:
        for port in spec["ports"].items:
            if port["hostPort"].there:
                yield port["hostPort"].error(
                    "host-port", "several replicas cannot share one hostPort", "replicas: 1"
                )


def _ports(ports: Place) -> Iterator[Finding]:
    seen: set[str] = set()
    numbers: set[float] = set()
    for port in ports.items:
        name, number = port["name"], port["port"]
        if name.text and names.label_error(name.text):
            yield name.error("invalid-port-name", f"{name.text!r} is not the name of a port")
        if name.text in seen:
            yield name.error("duplicate-port", f"the port name {name.text!r} is there twice")
        if number.there and number.number in numbers:
            yield number.error("duplicate-port", f"port {number.value} is there twice")
        seen.add(name.text)
        numbers.add(number.number)


def no_rules(spec: Place, namespace: str) -> Iterator[Finding]:
    """A kind whose schema says everything."""
    return iter(())

"""What `explain` says of a Dubbo service beyond its route: its interface, and what is not read."""

from __future__ import annotations

from collections.abc import Mapping

from meltemi import engine
from meltemi.model import Service
from meltemi.model.protocol import BUILT_IN_CODECS

INTERFACE = "interface"
SERIALIZATION = "serialization"
"""The one attribute of a request that is not read."""
_UNREAD = "fastjson2"


def attributes(service: Service, codec: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """Those of the question; where the service stands for an interface, a request has that one."""
    if codec != BUILT_IN_CODECS["dubbo"] or not service.interface:
        return given
    if INTERFACE in given or SERIALIZATION in given:
        return given
    return {INTERFACE: service.interface, **given}


def notes(service: Service, codec: str, given: Mapping[str, str], table: bytes) -> list[str]:
    """Sentences. `table`: the routes, as serialized for the caller's sidecar."""
    if codec != BUILT_IN_CODECS["dubbo"]:
        return []
    found = []
    if attributes(service, codec, given) is not given:
        found.append(
            f"{INTERFACE} is what the ServiceEntry's annotation says;"
            f" --attr {INTERFACE}=… asks for another"
        )
    asked = {SERIALIZATION: given.get(SERIALIZATION, _UNREAD)}
    taken = next((route for route in engine.explain_route(table, asked) if route["matched"]), None)
    way = f"takes route {taken['name'] or '(no name)'}" if taken else "is answered with an error"
    found.append(
        "attributes are read of requests in hessian2; one in another serialization has only"
        f" {SERIALIZATION}={asked[SERIALIZATION]} or the like: it {way}"
    )
    return found

"""Mutations of hosts whose protocol has no place for attributes: an error, for the rule would do
nothing. What is not known (the host, or the codec of a protocol) is not judged.

Part of `combine`, so that `validate`, `apply` and `up` say it alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meltemi.config.check import Object
from meltemi.config.issues import Issue
from meltemi.config.rules.meta_router import MUTATIONS
from meltemi.config.rules.names import full_host
from meltemi.config.schema.application_protocol import ApplicationProtocolSpec
from meltemi.config.schema.meta_router import MetaRouterSpec, Route
from meltemi.config.schema.service import ServiceSpec
from meltemi.config.schema.service_entry import ServiceEntrySpec
from meltemi.model import BUILT_IN_CODECS, ObjectRef, port_protocol
from meltemi.model.protocol import ENGINE_CODECS, MUTABLE_CODECS, TCP

_SERVICES = (ServiceSpec, ServiceEntrySpec)
_HINT = "Dubbo has (attachments), and Thrift (THeader, TTHeader): say so in the name of the port"


DECIDING = ("ApplicationProtocol", "Service", "ServiceEntry")
"""Kinds that say whether there is a place."""


def check(objects: Iterable[Object]) -> dict[ObjectRef, Issue]:
    """The error of each MetaRouter that mutates where nothing can be mutated."""
    objects = tuple(objects)
    mutating = [item for item in objects if mutates(item)]
    if not mutating:
        return {}
    codecs = BUILT_IN_CODECS | {
        item.spec.protocol.lower(): item.spec.codec
        for item in objects
        if isinstance(item.spec, ApplicationProtocolSpec)
    }
    wanted = {_host(item) for item in mutating}
    ports = _protocols(objects, wanted, frozenset(codecs))
    found = {}
    for item in mutating:
        spoken = ports.get(_host(item), [])
        if spoken and not any(_may_have_place(protocol, codecs) for protocol in spoken):
            number, field = next(_mutations(item))
            speaks = f"{_host(item)} speaks {' and '.join(dict.fromkeys(spoken))}"
            found[item.ref] = item.issue(
                ("spec", "routes", number, field),
                "error",
                "no-place",
                f"{field} has no place: {speaks}, whose messages carry no attributes",
                _HINT,
            )
    return found


def mutates(item: Object) -> bool:
    """Whether it is a MetaRouter that changes requests or replies."""
    return any(True for _ in _mutations(item))


def decides(item: Object) -> bool:
    """Whether the place for what rules change may depend on it."""
    return item.ref.kind in DECIDING


def _mutations(item: Object) -> Iterator[tuple[int, str]]:
    """Number and field of each mutation of a MetaRouter."""
    routes: Iterable[Route] = (
        item.spec.routes or () if isinstance(item.spec, MetaRouterSpec) else ()
    )
    for number, route in enumerate(routes):
        given = (route.request_mutation, route.response_mutation)
        for field, mutation in zip(MUTATIONS, given, strict=True):
            if mutation:
                yield number, field


def _host(router: Object) -> str:
    return full_host(router.spec.hosts[0], router.ref.namespace)


def _protocols(
    objects: Iterable[Object], hosts: set[str], known: frozenset[str]
) -> dict[str, list[str]]:
    """What the ports of each of the hosts speak; "" where a port names a protocol nobody knows."""
    found: dict[str, list[str]] = {}
    for item in objects:
        if not isinstance(item.spec, _SERVICES):
            continue
        for host in hosts.intersection(_hosts(item)):
            for port in item.spec.ports or ():
                app = getattr(port, "app_protocol", None)
                protocol = port_protocol(port.name or "", app, known)
                named = "metaprotocol" in (app or port.name or "").lower().split("-")
                unknown = protocol == TCP and named
                found.setdefault(host, []).append("" if unknown else protocol)
    return found


def _hosts(item: Object) -> list[str]:
    if isinstance(item.spec, ServiceSpec):
        return [full_host(item.ref.name, item.ref.namespace)]
    return [host.lower().removesuffix(".") for host in item.spec.hosts]


def _may_have_place(protocol: str, codecs: Mapping[str, str]) -> bool:
    """Whether it has, or it is not known."""
    codec = codecs.get(protocol, "")
    return not protocol or codec in MUTABLE_CODECS or (codec != "" and codec not in ENGINE_CODECS)

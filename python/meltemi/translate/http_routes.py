"""Routes of a service's port for clients without a sidecar, as Istio writes a VirtualService down
(TranslateRoute in pilot/pkg/networking/core/route).

gRPC's own client lacks some of it (gRFCs A28, A31, A44), Kitex more: what a client lacks is left
out, a match that it cannot decide as a whole, so that no request goes where its rule does not send
it. The metadata `meltemi.left_out` names what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from meltemi.model import (
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    MetaRouter,
    ServicePort,
)
from meltemi.translate import http_matches, kitex, names, retries
from meltemi.translate.dialect import Dialect
from meltemi.translate.hashing import Hashed
from meltemi.translate.routes import DEFAULT_ROUTE, hash_policy, meta_route
from meltemi.translate.structs import duration, struct
from meltemi.translate.virtual_services import HttpRules
from meltemi.xds import messages

NOT_IMPLEMENTED: Final = 501
NOT_FOUND: Final = 404
NO_ROUTE: Final = "no-route"

_NAMES: Final = {Dialect.GRPC: "gRPC's client", Dialect.KITEX: "Kitex"}
"""Clients that lack something."""


@dataclass(frozen=True, slots=True)
class HttpPort:
    """All that the routes of a port are made from."""

    hostname: str
    port: ServicePort
    codec: str
    """"" where no codec reads the protocol."""
    rules: HttpRules | None
    router: MetaRouter | None
    """Of the same host: it wins where a codec reads the protocol."""
    hashed: Hashed = ()
    """The clusters that balance by hash, and by what; for clients that can."""

    @property
    def cluster(self) -> str:
        """Of the whole service."""
        return names.outbound(self.port.number, "", self.hostname)

    def name(self, dialect: Dialect) -> str:
        """Of the routes: `outbound|PORT||HOST`, and to Kitex `HOST:PORT`."""
        if dialect is Dialect.KITEX:
            return names.kitex_route(self.hostname, self.port.number)
        return self.cluster


def route_configuration(of: HttpPort, dialect: Dialect) -> Any:
    """Envoy's RouteConfiguration, with one virtual host for every name that the service is called
    by."""
    made = _Made(of, dialect)
    if of.codec and of.router is not None and of.router.routes:
        if dialect is Dialect.KITEX:
            routes = made.routes(kitex.rules_of(of.router))
        else:
            routes = [
                meta_route(route, of.port.number, dict(of.hashed)) for route in of.router.routes
            ]
    elif of.rules is not None:
        routes = made.routes(of.rules)
    else:
        routes = [made.whole_service()]
    more = {}
    if made.left_out:
        said = list(dict.fromkeys(made.left_out))
        more["metadata"] = {"filter_metadata": {"meltemi": struct({"left_out": said})}}
    return messages.message("envoy.config.route.v3.RouteConfiguration")(
        name=of.name(dialect),
        virtual_hosts=[
            {"name": f"{of.hostname}:{of.port.number}", "domains": ["*"], "routes": routes}
        ],
        **more,
    )


@dataclass(slots=True)
class _Made:
    of: HttpPort
    dialect: Dialect
    left_out: list[str] = field(default_factory=list)

    @property
    def _any_path(self) -> dict[str, Any]:
        return dict(kitex.ANY_PATH if self.dialect is Dialect.KITEX else {"prefix": ""})

    def whole_service(self) -> dict[str, Any]:
        """The only route where no rule says otherwise."""
        action = {
            "cluster": self.of.cluster,
            **hash_policy([self.of.cluster], dict(self.of.hashed)),
            **self._retries(HttpRoute(), DEFAULT_ROUTE),
        }
        return {"name": DEFAULT_ROUTE, "match": self._any_path, "route": action}

    def routes(self, rules: HttpRules) -> list[dict[str, Any]]:
        """In the order of the rule, one a match. There is always one: a virtual host without
        routes is refused."""
        routes = []
        for place, route in enumerate(rules.routes):
            label = repr(route.name) if route.name else f"http[{place}]"
            rest = self._answer(route, label, rules)
            for name, match in self._matches(route, label):
                routes.append({"name": name, "match": match, **rest})
        if not routes:
            reason = f"{rules.name}: no route"
            routes.append(_refused(NO_ROUTE, self._any_path, NOT_FOUND, reason))
        return routes

    def _matches(self, route: HttpRoute, label: str) -> list[tuple[str, dict[str, Any]]]:
        if not route.matches:
            return [(route.name, self._any_path)]
        made = []
        for match in route.matches:
            if match.port not in (None, self.of.port.number):
                continue
            name = ".".join(part for part in (route.name, match.name) if part)
            try:
                made += [(name, each) for each in self._match(match)]
            except http_matches.CannotMatchError as reason:
                self.left_out.append(f"a match of route {label}: {reason}")
        return made

    def _match(self, of: HttpMatch) -> list[dict[str, Any]]:
        match self.dialect:
            case Dialect.GRPC:
                return http_matches.for_grpc(of)
            case Dialect.KITEX:
                return kitex.matches(of)
            case _:
                return [http_matches.match(of)]

    def _answer(self, route: HttpRoute, label: str, rules: HttpRules) -> dict[str, Any]:
        """Everything of a route but its name and match."""
        if route.refused:
            body = {"inline_string": f"{rules.namespace}/{rules.name}: {route.refused}"}
            return {"direct_response": {"status": NOT_IMPLEMENTED, "body": body}}
        action = self._destinations(route.destinations, label, rules)
        used = [self._cluster(to, rules) for to in route.destinations if to.weight]
        if len(route.destinations) == 1:
            used = [self._cluster(route.destinations[0], rules)]
        action |= hash_policy(used, dict(self.of.hashed))
        changes = self._headers(route.request, route.response, label)
        if len(route.destinations) == 1:
            only = route.destinations[0]
            for key, value in self._headers(only.request, only.response, label).items():
                changes[key] = [*changes.get(key, ()), *value]
        if route.timeout_s is not None:
            whole = duration(route.timeout_s)
            action["timeout"] = whole
            if self.dialect is not Dialect.KITEX:
                action["max_stream_duration"] = {"max_stream_duration": whole}
        return {"route": action | self._retries(route, label), **changes}

    def _destinations(
        self, destinations: tuple[HttpDestination, ...], label: str, rules: HttpRules
    ) -> dict[str, Any]:
        if len(destinations) == 1:
            return {"cluster": self._cluster(destinations[0], rules)}
        chosen = [each for each in destinations if each.weight]
        weighted = [(each, each.weight) for each in chosen]
        if self.dialect is Dialect.KITEX:
            weighted = kitex.weighted(chosen)
        clusters = [
            {
                "name": self._cluster(each, rules),
                "weight": {"value": weight},
                **self._headers(each.request, each.response, label),
            }
            for each, weight in weighted
        ]
        return {"weighted_clusters": {"clusters": clusters}}

    def _cluster(self, to: HttpDestination, rules: HttpRules) -> str:
        """Whether or not that host or subset exists: the client's error names it."""
        target = to.destination
        port = target.port or dict(rules.only_ports).get(target.host, self.of.port.number)
        return names.outbound(port, target.subset, target.host)

    def _headers(
        self, request: HeaderChanges, response: HeaderChanges, label: str
    ) -> dict[str, Any]:
        made = {**header_changes("request", request), **header_changes("response", response)}
        if made and self.dialect in _NAMES:
            changes_none = f"{_NAMES[self.dialect]} changes no headers"
            self.left_out.append(f"headers of route {label}: {changes_none}")
            return {}
        return made

    def _retries(self, route: HttpRoute, label: str) -> dict[str, Any]:
        """Nothing is tried twice by default where a codec reads the protocol: its calls need not be
        idempotent, and do not say whether they are."""
        if self.dialect is Dialect.KITEX:
            policy, lacking = kitex.retry_policy(route.retries)
        elif route.retries is None and self.of.codec:
            return {}
        else:
            policy, lacking = retries.policy(route.retries, grpc=self.dialect is Dialect.GRPC)
        self.left_out += [f"retries of route {label}: {reason}" for reason in lacking]
        return {"retry_policy": policy} if policy else {}


def header_changes(side: str, changes: HeaderChanges) -> dict[str, Any]:
    """The fields of a route that change the headers of one direction, `request` or `response`."""
    added = [
        {"header": {"key": key, "value": value}, "append_action": action, "keep_empty_value": True}
        for headers, action in (
            (changes.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            (changes.add, "APPEND_IF_EXISTS_OR_ADD"),
        )
        for key, value in headers
    ]
    made: dict[str, Any] = {f"{side}_headers_to_add": added} if added else {}
    if changes.remove:
        made[f"{side}_headers_to_remove"] = list(changes.remove)
    return made


def _refused(name: str, match: dict[str, Any], status: int, reason: str) -> dict[str, Any]:
    answer = {"status": status, "body": {"inline_string": reason}}
    return {"name": name, "match": match, "direct_response": answer}


def ports(
    service_ports: Iterable[ServicePort],
    codecs: Iterable[str],
    hostname: str,
    rules: HttpRules | None,
    router: MetaRouter | None,
    hashed: Hashed,
) -> list[HttpPort]:
    """Each port of a service."""
    return [
        HttpPort(hostname, port, codec, rules, router if codec else None, hashed)
        for port, codec in zip(service_ports, codecs, strict=True)
    ]

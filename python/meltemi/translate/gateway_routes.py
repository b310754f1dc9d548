"""Routes of a gateway's port, for a stock Envoy, as Istio writes a VirtualService down at a gateway
(TranslateRoute in pilot/pkg/networking/core/route)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from meltemi.model import (
    Cors,
    DirectResponse,
    Fault,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Redirect,
    Rewrite,
    StringMatch,
)
from meltemi.translate import http_matches, retries
from meltemi.translate.gateways import GatewayPort, RouteOf, VirtualHost
from meltemi.translate.http_routes import NO_ROUTE, NOT_FOUND, NOT_IMPLEMENTED, header_changes
from meltemi.translate.routes import hash_policy
from meltemi.translate.structs import duration, struct, typed_struct
from meltemi.xds import messages

FAULT_FILTER: Final = "envoy.filters.http.fault"

RESELECTED: Final = 5
"""How often an endpoint that was asked before is passed over (Istio's)."""

CORS_FILTER: Final = "envoy.filters.http.cors"
CORS_POLICY: Final = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
_RETRIES: Final = "envoy.extensions.retry"
_FAULT: Final = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_CODES: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_PLAIN_PORT: Final = 80
_TLS_PORT: Final = 443
_HOST: Final = ("host", ":authority")


def name(number: int) -> str:
    """Of a port's routes, as Istio has it."""
    return f"http.{number}"


def route_configuration(port: GatewayPort) -> Any:
    """Envoy's RouteConfiguration. A request that no route takes is answered with 404."""
    hosts = [_virtual_host(port, host) for host in port.hosts]
    if not hosts:
        nothing = {"name": NO_ROUTE, "match": {"prefix": "/"}}
        answer = {"direct_response": {"status": NOT_FOUND}}
        hosts = [
            {
                "name": f"blackhole:{port.number}",
                "domains": ["*"],
                "routes": [{**nothing, **answer}],
            }
        ]
    return messages.message("envoy.config.route.v3.RouteConfiguration")(
        name=name(port.number),
        virtual_hosts=hosts,
        validate_clusters={"value": False},
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes={"value": _most_bytes(port)},
    )


def _most_bytes(port: GatewayPort) -> int:
    """Of direct responses; Envoy's own limit is 4096."""
    answers = (each.route.direct_response for host in port.hosts for each in host.routes)
    return max([4096, *(len(answer.body) for answer in answers if answer is not None)])


def _virtual_host(port: GatewayPort, host: VirtualHost) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": f"{host.domain}:{port.number}",
        "domains": [host.domain],
        "routes": list(_routes(port, host.routes)),
        "include_request_attempt_count": True,
    }
    if host.https_redirect:
        made["require_tls"] = "ALL"
    return made


def _routes(port: GatewayPort, routes: Iterable[RouteOf]) -> Iterator[dict[str, Any]]:
    for rule, route in routes:
        rest = _answer(port, rule, route)
        for match in route.matches or (HttpMatch(),):
            label = ".".join(part for part in (route.name, match.name) if part)
            yield {
                "name": label,
                "match": _match(match),
                "metadata": {"filter_metadata": _metadata(rule, route.lane)},
                **rest,
            }


def _metadata(rule: str, lane: str) -> dict[str, Any]:
    namespace, _, own = rule.partition("/")
    config = f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{own}"
    made = {"istio": struct({"config": config})}
    return made | {"meltemi": struct({"mark": lane})} if lane else made


def _match(of: HttpMatch) -> dict[str, Any]:
    made = http_matches.match(of)
    if made.get("prefix") == "":
        made["prefix"] = "/"
    headers = list(made.get("headers", ()))
    for header, condition in ((":scheme", of.scheme), (":authority", of.authority)):
        if condition is not None:
            headers.append(http_matches.header(header, condition))
    if headers:
        made["headers"] = headers
    if of.query_params:
        made["query_parameters"] = [_parameter(*each) for each in of.query_params]
    return made


def _parameter(parameter: str, condition: StringMatch) -> dict[str, Any]:
    if condition.kind == "present":
        return {"name": parameter, "present_match": True}
    return {"name": parameter, "string_match": http_matches.string(condition)}


def _answer(port: GatewayPort, rule: str, route: HttpRoute) -> dict[str, Any]:
    """Everything of a route but its name and match."""
    changes = header_changes("request", _without_host(route.request))
    changes |= header_changes("response", route.response)
    if route.refused:
        body = {"inline_string": f"{rule}: {route.refused}"}
        return {"direct_response": {"status": NOT_IMPLEMENTED, "body": body}}
    if route.redirect is not None:
        return {"redirect": _redirect(route.redirect, port.number), **changes}
    if route.direct_response is not None:
        return {"direct_response": _direct(route.direct_response), **changes}
    if not route.destinations:  # of a fault alone
        nothing = {"direct_response": {"status": NOT_FOUND}, **changes}
        return nothing | _own_filters(route)
    action = _clusters(port, route)
    if len(route.destinations) == 1:
        only = route.destinations[0]
        for side, said in (("request", _without_host(only.request)), ("response", only.response)):
            for key, value in header_changes(side, said).items():
                changes[key] = [*changes.get(key, ()), *value]
    action |= _rewrite(route)
    action["timeout"] = duration(route.timeout_s or 0)
    policy, _ = retries.policy(route.retries, grpc=False)
    if policy:
        action["retry_policy"] = policy | _elsewhere(route)
    if route.mirrors:
        action["request_mirror_policies"] = [
            {
                "cluster": port.cluster(*_of(mirror.destination)),
                "runtime_fraction": {"default_value": _share(mirror.share)},
            }
            for mirror in route.mirrors
        ]
    return {"route": action, **changes, **_own_filters(route)}


def _elsewhere(route: HttpRoute) -> dict[str, Any]:
    """Who is asked again, as Istio has it: another endpoint. In a permissive lane that is one to
    fall back to, where the lane's own could not be reached."""
    other = typed_struct(f"{_RETRIES}.host.previous_hosts.v3.PreviousHostsPredicate", {})
    made: dict[str, Any] = {
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": other}
        ],
        "host_selection_retry_max_attempts": RESELECTED,
    }
    if route.lane:
        name = f"{_RETRIES}.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        made["retry_priority"] = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": typed_struct(name, {"update_frequency": 1}),
        }
    return made


def _of(destination: Any) -> tuple[str, str, int | None]:
    return destination.host, destination.subset, destination.port


def _clusters(port: GatewayPort, route: HttpRoute) -> dict[str, Any]:
    hashed = dict(port.hashed)
    if len(route.destinations) == 1:
        only = port.cluster(*_of(route.destinations[0].destination))
        return {"cluster": only, **hash_policy([only], hashed)}
    chosen = [each for each in route.destinations if each.weight]
    weighted = [_weighted(port, each) for each in chosen]
    used = [each["name"] for each in weighted]
    return {"weighted_clusters": {"clusters": weighted}, **hash_policy(used, hashed)}


def _weighted(port: GatewayPort, to: HttpDestination) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": port.cluster(*_of(to.destination)),
        "weight": {"value": to.weight},
        **header_changes("request", _without_host(to.request)),
        **header_changes("response", to.response),
    }
    if host := _host(to.request):
        made["host_rewrite_literal"] = host
    return made


def _rewrite(route: HttpRoute) -> dict[str, Any]:
    made: dict[str, Any] = {}
    said = route.rewrite or Rewrite()
    if said.regex is not None:
        pattern, substitution = said.regex
        made["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": substitution}
    elif said.uri:
        made["prefix_rewrite"] = said.uri
    host = said.authority or _host(route.request)
    if not host and len(route.destinations) == 1:
        host = _host(route.destinations[0].request)
    if host:
        made["host_rewrite_literal"] = host
    return made


def _host(changes: HeaderChanges) -> str:
    """What `set` says of the host: of Envoy that is another thing than a header."""
    return next((value for header, value in changes.set if header in _HOST), "")


def _without_host(changes: HeaderChanges) -> HeaderChanges:
    """Without what Envoy does not let anybody change as a header: it would refuse all routes."""

    def plain(header: str) -> bool:
        return header != "host" and not header.startswith(":")

    return HeaderChanges(
        tuple(each for each in changes.set if plain(each[0])),
        tuple(each for each in changes.add if plain(each[0])),
        tuple(header for header in changes.remove if plain(header)),
    )


def _redirect(said: Redirect, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {"response_code": _CODES[said.code]}
    if said.uri:
        made["path_redirect"] = said.uri
    elif said.prefix_rewrite:
        made["prefix_rewrite"] = said.prefix_rewrite
    if said.authority:
        made["host_redirect"] = said.authority
    if said.scheme:
        made["scheme_redirect"] = said.scheme
    to = number if said.port == "request" else said.port
    own = _TLS_PORT if said.scheme == "https" else _PLAIN_PORT
    if to is not None and to != own:
        made["port_redirect"] = to
    return made


def _direct(said: DirectResponse) -> dict[str, Any]:
    made: dict[str, Any] = {"status": said.status}
    if said.body:
        made["body"] = {"inline_bytes": said.body}
    return made


def _own_filters(route: HttpRoute) -> dict[str, Any]:
    """What a route asks of filters before the router."""
    made = {}
    if fault := _fault(route.fault or Fault()):
        made[FAULT_FILTER] = messages.pack(messages.message(_FAULT)(**fault))
    if route.cors is not None:
        made[CORS_FILTER] = typed_struct(CORS_POLICY, _cors(route.cors))
    return {"typed_per_filter_config": made} if made else {}


def _fault(said: Fault) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if said.delay_share and said.delay_s:
        made["delay"] = {
            "fixed_delay": duration(said.delay_s),
            "percentage": _share(said.delay_share),
        }
    if said.abort_share:
        status = {"http_status": said.abort_status}
        if said.abort_status is None:
            status = {"grpc_status": said.abort_grpc_status}
        made["abort"] = {**status, "percentage": _share(said.abort_share)}
    return made


def _cors(said: Cors) -> dict[str, Any]:
    """Envoy's CorsPolicy, as JSON."""
    made: dict[str, Any] = {
        "allow_origin_string_match": [http_matches.string(each) for each in said.origins],
        "filter_enabled": {"default_value": {"numerator": 100}},
        "forward_not_matching_preflights": said.forwards_preflights,
    }
    for field, names in (
        ("allow_methods", said.methods),
        ("allow_headers", said.headers),
        ("expose_headers", said.exposed),
    ):
        if names:
            made[field] = ",".join(names)
    if said.max_age_s is not None:
        made["max_age"] = str(int(said.max_age_s))
    if said.credentials is not None:
        made["allow_credentials"] = said.credentials
    return made


def _share(millionths: int) -> dict[str, Any]:
    return {"numerator": millionths, "denominator": "MILLION"}

"""Envoy's RouteConfiguration, as it travels, back to MetaProtocol's, as people write and read it.

The mapping is MetaProtocol Proxy's own (its rds_impl.cc, httpRouteConfig2MetaProtocolRouteConfig):
headers are metadata, headers to add are mutations. A header to remove, which MetaProtocol has no
word for, is a mutation with `remove`. Works on protobuf JSON with .proto names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE = "type.googleapis.com/aeraki.meta_protocol_proxy.config.route.v1alpha.RouteConfiguration"

Json = dict[str, Any]

# Of `string_match` (Envoy's newer form): the HeaderMatcher field that says the same.
_OLDER_FORM = {
    "exact": "exact_match",
    "prefix": "prefix_match",
    "suffix": "suffix_match",
    "contains": "contains_match",
    "safe_regex": "safe_regex_match",
}


def route_configuration(envoy: Mapping[str, Any]) -> Json:
    """The MetaProtocol RouteConfiguration of an Envoy one: the routes of all its virtual hosts."""
    routes = [
        _route(route) for host in envoy.get("virtual_hosts", []) for route in host.get("routes", [])
    ]
    return {"@type": TYPE, "name": envoy.get("name", ""), "routes": routes}


def _route(envoy: Mapping[str, Any]) -> Json:
    route: Json = {"name": envoy.get("name", ""), "match": _match(envoy.get("match", {}))}
    if "route" in envoy:
        route["route"] = _action(envoy["route"])
    for side in ("request", "response"):
        mutation = [_mutation(added) for added in envoy.get(f"{side}_headers_to_add", [])]
        removed = envoy.get(f"{side}_headers_to_remove", [])
        mutation += [{"key": key, "remove": True} for key in removed]
        if mutation:
            route[f"{side}_mutation"] = mutation
    return route


def _match(envoy: Mapping[str, Any]) -> Json:
    if not envoy.get("headers"):
        return {}
    return {"metadata": [_matcher(header) for header in envoy["headers"]]}


def _matcher(header: Mapping[str, Any]) -> Json:
    matcher = {key: value for key, value in header.items() if key != "string_match"}
    for kind, value in header.get("string_match", {}).items():
        if kind in _OLDER_FORM:
            matcher[_OLDER_FORM[kind]] = value
        else:
            matcher.setdefault("string_match", {})[kind] = value
    return matcher


def _action(envoy: Mapping[str, Any]) -> Json:
    action: Json = {}
    if "cluster" in envoy:
        action["cluster"] = envoy["cluster"]
    if "weighted_clusters" in envoy:
        action["weighted_clusters"] = _weighted(envoy["weighted_clusters"])
    if "hash_policy" in envoy:
        action["hash_policy"] = [
            policy["header"]["header_name"] for policy in envoy["hash_policy"] if "header" in policy
        ]
    if "request_mirror_policies" in envoy:
        action["request_mirror_policies"] = envoy["request_mirror_policies"]
    return action


def _weighted(envoy: Mapping[str, Any]) -> Json:
    clusters = [
        {"name": cluster["name"], "weight": cluster.get("weight", 0)}
        for cluster in envoy.get("clusters", [])
    ]
    total = envoy.get("total_weight", sum(cluster["weight"] for cluster in clusters))
    return {"clusters": clusters, "total_weight": total}


def _mutation(added: Mapping[str, Any]) -> Json:
    header = added.get("header", {})
    return {"key": header.get("key", ""), "value": header.get("value", "")}

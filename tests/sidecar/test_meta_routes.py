"""Envoy's RouteConfiguration back to MetaProtocol's: the shape that `proxy routes` promises."""

from __future__ import annotations

from typing import Any

from meltemi.sidecar.meta_routes import route_configuration
from meltemi.xds import messages


def shown(*routes: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes as they are shown, after a round over the wire."""
    made = messages.from_json(
        "envoy.config.route.v3.RouteConfiguration",
        {
            "name": "host_9090",
            "virtual_hosts": [{"name": "dummy", "domains": ["*"], "routes": list(routes)}],
        },
    )
    found = route_configuration(messages.any_to_json(messages.ROUTE, messages.serialize(made)))
    assert found["name"] == "host_9090"
    # What is shown is a message of MetaProtocol Proxy's own API.
    kind = found["@type"].partition("/")[2]
    body = {key: value for key, value in found.items() if key != "@type"}
    messages.from_json(kind, body)
    result: list[dict[str, Any]] = found["routes"]
    return result


def route(headers: list[dict[str, Any]], action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "r", "match": {"prefix": "/", "headers": headers}, "route": action, **more}


def test_headers_are_metadata_in_either_of_envoys_forms() -> None:
    older: list[dict[str, Any]] = [
        {"name": "method", "exact_match": "sayHello"},
        {"name": "a", "prefix_match": "x"},
        {"name": "b", "safe_regex_match": {"regex": "x.*"}},
        {"name": "c", "present_match": True},
    ]
    newer: list[dict[str, Any]] = [
        {"name": "method", "string_match": {"exact": "sayHello"}},
        {"name": "a", "string_match": {"prefix": "x"}},
        {"name": "b", "string_match": {"safe_regex": {"regex": "x.*"}}},
        {"name": "c", "present_match": True},
    ]
    [first] = shown(route(older, {"cluster": "c"}))
    [second] = shown(route(newer, {"cluster": "c"}))
    assert first == second
    assert first["match"]["metadata"] == older


def test_a_cluster_and_weighted_clusters_keep_name_weight_and_total() -> None:
    weighted = {"clusters": [{"name": "v1", "weight": 20}, {"name": "v2", "weight": 80}]}
    one, several = shown(route([], {"cluster": "c"}), route([], {"weighted_clusters": weighted}))
    assert one["route"] == {"cluster": "c"}
    assert several["route"] == {"weighted_clusters": {**weighted, "total_weight": 100}}


def test_a_weight_of_nothing_is_shown_as_0() -> None:
    weighted = {"clusters": [{"name": "v1", "weight": 0}, {"name": "v2", "weight": 1}]}
    [found] = shown(route([], {"weighted_clusters": weighted}))
    assert found["route"]["weighted_clusters"]["clusters"][0] == {"name": "v1", "weight": 0}


def test_a_route_for_every_request_has_an_empty_match() -> None:
    [found] = shown(route([], {"cluster": "c"}))
    assert found == {"name": "r", "match": {}, "route": {"cluster": "c"}}


def test_mutations_hashes_and_mirrors_travel_too() -> None:
    [found] = shown(
        route(
            [],
            {
                "cluster": "c",
                "hash_policy": [{"header": {"header_name": "user"}}],
                "request_mirror_policies": [{"cluster": "m"}],
            },
            request_headers_to_add=[{"header": {"key": "k", "value": "v"}}],
            response_headers_to_add=[{"header": {"key": "r", "value": "w"}}],
        )
    )
    assert found["route"]["hash_policy"] == ["user"]
    assert found["route"]["request_mirror_policies"] == [{"cluster": "m"}]
    assert found["request_mutation"] == [{"key": "k", "value": "v"}]
    assert found["response_mutation"] == [{"key": "r", "value": "w"}]


def test_what_is_removed_is_shown_as_it_is_written_in_yaml() -> None:
    """MetaProtocol's own message has no word for it."""
    removing = route(
        [],
        {"cluster": "c"},
        request_headers_to_add=[{"header": {"key": "k", "value": "v"}}],
        request_headers_to_remove=["gone"],
        response_headers_to_remove=["a", "b"],
    )
    envoy = {"name": "r", "virtual_hosts": [{"name": "v", "routes": [removing]}]}
    [found] = route_configuration(envoy)["routes"]
    assert found["request_mutation"] == [
        {"key": "k", "value": "v"},
        {"key": "gone", "remove": True},
    ]
    assert [each["key"] for each in found["response_mutation"]] == ["a", "b"]

"""A call without a sidecar that leaves the mesh: its changes take the marks of lanes away."""

from __future__ import annotations

from meltemi.engine import Router
from meltemi.proxyless.calls import changed
from meltemi.xds import messages
from routed_mesh import HOST, PATH, cluster, endpoints, give, listener, routes, to

OUTSIDE = {"metadata": {"filter_metadata": {"meltemi": {"unmarked": ["env", "lane"]}}}}
HEADERS = [
    ("x-id", "7"),
    ("baggage", "a=1;p=2, env=dev"),
    ("Baggage", "Lane=x"),
    ("rpc-transit-baggage", "env=dev"),
    ("ot-baggage-env", "dev"),
    ("ot-baggage-a", "1"),
]


def router(**more: object) -> Router:
    made = Router(seed=1)
    give(made, messages.LISTENER, HOST, listener())
    give(made, messages.CLUSTER, "v1", cluster("v1", **more))
    give(made, messages.ENDPOINT, "v1", endpoints("v1", [9080]))
    give(made, messages.ROUTE, "reviews", routes(to(("v1", 1))))
    return made


def test_what_leaves_the_mesh_loses_every_mark_and_nothing_else() -> None:
    call = router(**OUTSIDE).call(HOST, HOST, PATH, HEADERS)
    assert call.request_changes == (
        ("set", "baggage", "a=1;p=2"),
        ("remove", "rpc-transit-baggage", ""),
        ("remove", "ot-baggage-env", ""),
    )
    assert changed(HEADERS, call.request_changes) == [
        ("x-id", "7"),
        ("ot-baggage-a", "1"),
        ("baggage", "a=1;p=2"),
    ]


def test_what_stays_in_the_mesh_and_what_has_no_mark_is_not_changed() -> None:
    assert router().call(HOST, HOST, PATH, HEADERS).request_changes == ()
    plain = [("baggage", "a=1"), ("x", "env=dev")]
    assert router(**OUTSIDE).call(HOST, HOST, PATH, plain).request_changes == ()


def test_what_a_rule_of_an_operator_sets_is_sent() -> None:
    made = router(**OUTSIDE)
    route = to(("v1", 1))
    route["request_headers_to_add"] = [{"header": {"key": "baggage", "value": "env=given"}}]
    give(made, messages.ROUTE, "reviews", routes(route))
    call = made.call(HOST, HOST, PATH, [("baggage", "env=dev")])
    sent = changed([("baggage", "env=dev")], call.request_changes)
    assert sent == [("baggage", "env=given")]


def test_metadata_that_is_no_list_of_keys_is_refused_with_its_place() -> None:
    wrong = {"metadata": {"filter_metadata": {"meltemi": {"unmarked": "env"}}}}
    made = Router(seed=1)
    message = messages.from_json("envoy.config.cluster.v3.Cluster", cluster("v1", **wrong))
    refused = made.update(messages.CLUSTER, "1", [("v1", messages.serialize(message))])
    place = 'metadata.filter_metadata["meltemi"].unmarked: a list of strings is needed here'
    assert refused == [("v1", place)]

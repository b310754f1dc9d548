"""A MetaRouter becomes the RouteConfiguration that Aeraki would send."""

from __future__ import annotations

import dataclasses
import time

import pytest
from meltemi.model import Destination, Mesh, MetaRoute, StringMatch, WeightedDestination
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client
from sample_mesh import CLIENT, HOST, THRIFT_PORT, mesh, node, route, router, routes, service


def test_a_service_without_a_rule_has_one_route_named_default() -> None:
    cluster = f"outbound|9090||{HOST}"
    expected = [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster}}]
    assert routes(mesh()) == expected


def test_a_rule_without_routes_routes_like_no_rule() -> None:
    assert routes(mesh(router())) == routes(mesh())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("exact", "sayHello"), {"exact_match": "sayHello"}),
        (("prefix", "say"), {"prefix_match": "say"}),
        (("regex", "s.*o"), {"safe_regex_match": {"google_re2": {}, "regex": "s.*o"}}),
        (("present", ""), {"present_match": True}),
    ],
)
def test_a_condition_is_a_header_matcher(
    condition: tuple[str, str], expected: dict[str, object]
) -> None:
    (made,) = routes(mesh(router(route("r", ("v1", 0), method=condition))))
    assert made["match"]["headers"] == [{"name": "method", **expected}]


def test_conditions_of_one_route_are_all_asked() -> None:
    both = route("r", ("v1", 0), method=("exact", "a"), service=("prefix", "b"))
    (made,) = routes(mesh(router(both)))
    assert [header["name"] for header in made["match"]["headers"]] == ["method", "service"]


def test_routes_keep_their_order_and_their_names() -> None:
    names = ["z", "a", "m"]
    made = routes(mesh(router(*(route(name, ("v1", 0)) for name in names))))
    assert [each["name"] for each in made] == names


def test_a_single_destination_is_a_cluster_whatever_its_weight() -> None:
    (made,) = routes(mesh(router(route("r", ("v1", 7)))))
    assert made["route"] == {"cluster": f"outbound|9090|v1|{HOST}"}


def test_several_destinations_are_weighted_clusters_with_their_total() -> None:
    (made,) = routes(mesh(router(route("split", ("v1", 20), ("v2", 80)))))
    assert made["route"]["weighted_clusters"] == {
        "clusters": [
            {"name": f"outbound|9090|v1|{HOST}", "weight": 20},
            {"name": f"outbound|9090|v2|{HOST}", "weight": 80},
        ],
        "total_weight": 100,
    }


def test_a_destination_without_port_means_the_port_that_was_called() -> None:
    two_ports = service(ports=(THRIFT_PORT, dataclasses.replace(THRIFT_PORT, number=9091)))
    to = (WeightedDestination(Destination(HOST), 0),)
    one = mesh(two_ports, router(MetaRoute("r", (), to)))
    for port in (9090, 9091):
        (made,) = routes(one, name=f"{HOST}_{port}")
        assert made["route"] == {"cluster": f"outbound|{port}||{HOST}"}


def test_a_destination_may_name_another_port_host_and_subset_even_unknown_ones() -> None:
    to = (WeightedDestination(Destination("nobody.x.svc.cluster.local", "v9", 99), 0),)
    (made,) = routes(mesh(router(MetaRoute("r", (), to))))
    assert made["route"] == {"cluster": "outbound|99|v9|nobody.x.svc.cluster.local"}


def test_mutations_are_headers_to_add_and_to_remove() -> None:
    to = (WeightedDestination(Destination(HOST), 0),)
    request = (("foo", "bar"), ("gone", None), ("a", "b"))
    mutating = MetaRoute("r", (), to, request, (("back", "c"), ("x", None), ("y", None)))
    (made,) = routes(mesh(router(mutating)))
    added = {key: [h["header"] for h in made[key]] for key in made if key.endswith("_to_add")}
    assert added == {
        "request_headers_to_add": [{"key": "foo", "value": "bar"}, {"key": "a", "value": "b"}],
        "response_headers_to_add": [{"key": "back", "value": "c"}],
    }
    assert made["request_headers_to_remove"] == ["gone"]
    assert made["response_headers_to_remove"] == ["x", "y"]
    only_removes = MetaRoute("r", (), to, (("gone", None),))
    (made,) = routes(mesh(router(only_removes)))
    assert {key for key in made if "headers" in key} == {"request_headers_to_remove"}


def test_a_rule_holds_only_for_callers_that_it_is_exported_to() -> None:
    elsewhere = router(route("r", ("v1", 0)), namespace="other", export_to=(".",))
    own = dataclasses.replace(CLIENT, namespace="other")
    one = mesh(elsewhere, CLIENT, own)
    assert [made["name"] for made in routes(one, node(own))] == ["r"]
    assert [made["name"] for made in routes(one, node(CLIENT))] == ["default"]


def test_of_two_rules_for_a_host_the_first_that_the_caller_sees_holds() -> None:
    hidden = router(route("hidden", ("v1", 0)), namespace="aaa", export_to=(".",))
    seen = router(route("seen", ("v1", 0)), namespace="bbb")
    last = router(route("last", ("v1", 0)), namespace="ccc")
    assert [made["name"] for made in routes(mesh(hidden, seen, last))] == ["seen"]


@pytest.mark.parametrize("client", list(Client))
def test_every_kind_of_client_gets_the_routes(client: Client) -> None:
    assert routes(mesh(router(route("r", ("v1", 0)))), node(CLIENT, client))[0]["name"] == "r"


def test_ten_thousand_routes_are_translated_well_within_a_second() -> None:
    many = tuple(
        MetaRoute(
            f"r{n}",
            (("method", StringMatch("exact", f"m{n}")),),
            (WeightedDestination(Destination(HOST, "v1"), 0),),
        )
        for n in range(10_000)
    )
    big: Mesh = mesh(router(*many))
    started = time.process_time()
    made = Translator().resources(big, node())[messages.ROUTE][f"{HOST}_9090"]
    took_s = time.process_time() - started
    configuration = messages.parse(messages.ROUTE, made.body)
    assert len(configuration.virtual_hosts[0].routes) == 10_000
    assert took_s < 1.0

"""What clients without a sidecar are told of VirtualServices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import (
    ConsistentHash,
    Destination,
    Endpoint,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Mesh,
    Retries,
    ServicePort,
    StringMatch,
    Subset,
    TrafficPolicy,
    VirtualService,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client, Node
from sample_mesh import (
    CLIENT,
    HOST,
    NAMESPACE,
    THRIFT_PORT,
    mesh,
    node,
    resources,
    route,
    router,
    rule,
    service,
)

GRPC_PORT = ServicePort(9080, "grpc", "grpc", 9080)
NAME = f"outbound|9080||{HOST}"
BOTH = [Client.GRPC, Client.SDK]
SERVICE = service(ports=(GRPC_PORT,), endpoints=((9080, (Endpoint("127.9.1.1", 9080),)),))


def to(subset: str = "", weight: int = 100, host: str = HOST, **more: Any) -> HttpDestination:
    return HttpDestination(Destination(host, subset), weight, **more)


def http(*matches: HttpMatch, subset: str = "v1", **more: Any) -> HttpRoute:
    return HttpRoute(matches=matches, **{"destinations": (to(subset),), **more})


def virtual(*routes: HttpRoute, **changes: Any) -> VirtualService:
    made = VirtualService(NAMESPACE, "rule", (HOST,), routes)
    return dataclasses.replace(made, **changes)


def configuration(of: Mesh, client: Client = Client.GRPC, name: str = NAME) -> dict[str, Any]:
    made: dict[str, Any] = resources(of, node(CLIENT, client))["RouteConfiguration"][name]
    return made


def routes(*parts: Any, client: Client = Client.GRPC, name: str = NAME) -> list[dict[str, Any]]:
    made = configuration(mesh(*parts) if len(parts) > 1 else mesh(SERVICE, *parts), client, name)
    (virtual_host,) = made["virtual_hosts"]
    assert virtual_host["domains"] == ["*"]
    found: list[dict[str, Any]] = virtual_host["routes"]
    return found


def left_out(*rules: VirtualService, client: Client = Client.GRPC) -> list[str]:
    made = configuration(mesh(SERVICE, *rules), client)
    said: list[str] = (
        made.get("metadata", {}).get("filter_metadata", {}).get("meltemi", {}).get("left_out", [])
    )
    return said


def clusters(made: list[dict[str, Any]]) -> list[str]:
    return [each["route"]["cluster"].split("|")[2] for each in made]


@pytest.mark.parametrize("client", BOTH)
def test_a_service_has_a_listener_for_each_name_that_callers_write(client: Client) -> None:
    made = resources(mesh(SERVICE), node(CLIENT, client))["Listener"]
    near = {"server:9080", "server.meta-thrift:9080", "server.meta-thrift.svc:9080"}
    assert set(made) == near | {f"{HOST}:9080"}
    for name, listener in made.items():
        assert listener["name"] == name
        manager = listener["api_listener"]["api_listener"]
        assert manager["rds"]["route_config_name"] == NAME
        assert [each["name"] for each in manager["http_filters"]] == ["envoy.filters.http.router"]


def test_who_is_of_another_namespace_says_whose_service_it_calls() -> None:
    far = Node.of("a", metadata={"GENERATOR": "grpc", "NAMESPACE": "elsewhere"})
    made = resources(mesh(SERVICE), far)["Listener"]
    assert "server:9080" not in made
    assert "server.meta-thrift:9080" in made


def test_a_service_entry_has_its_own_host_alone() -> None:
    external = service("api.example.com", ports=(GRPC_PORT,), external=True)
    made = resources(mesh(external), node(CLIENT, Client.GRPC))["Listener"]
    assert set(made) == {"api.example.com:9080"}


@pytest.mark.parametrize("client", [Client.SIDECAR, Client.ENVOY])
def test_others_get_nothing_of_it(client: Client) -> None:
    made = resources(mesh(SERVICE, virtual(http())), node(CLIENT, client))
    assert NAME not in made["RouteConfiguration"]
    assert not any("api_listener" in listener for listener in made["Listener"].values())


def test_without_a_rule_the_whole_service_is_called() -> None:
    (only,) = routes(SERVICE, rule())
    assert only["route"]["cluster"] == NAME
    assert only["route"]["retry_policy"] == {
        "retry_on": "unavailable,cancelled",
        "num_retries": 2,
    }


@pytest.mark.parametrize("client", BOTH)
def test_routes_come_in_the_order_of_the_rule_one_a_match(client: Client) -> None:
    made = routes(
        virtual(
            http(
                HttpMatch("one", uri=StringMatch("exact", "/a.B/C")),
                HttpMatch("two", uri=StringMatch("prefix", "/a.B/"), ignore_uri_case=True),
                name="canary",
            ),
            http(
                HttpMatch(
                    uri=StringMatch("regex", "/a.*"), headers=(("lane", StringMatch("exact", "x")),)
                ),
                subset="v2",
            ),
            http(subset="v3"),
        ),
        client=client,
    )
    assert [(each.get("name"), each["match"]) for each in made] == [
        ("canary.one", {"path": "/a.B/C"}),
        ("canary.two", {"prefix": "/a.B/", "case_sensitive": False}),
        (
            None,
            {
                "safe_regex": {"regex": "/a.*"},
                "headers": [{"name": "lane", "string_match": {"exact": "x"}}],
            },
        ),
        (None, {"prefix": ""}),
    ]
    assert clusters(made) == ["v1", "v1", "v2", "v3"]


def test_weights_are_shares_and_0_is_none() -> None:
    split = http(destinations=(to("v1", 80), to("v2", 20), to("v3", 0)))
    (made,) = routes(virtual(split))
    assert made["route"]["weighted_clusters"] == {
        "clusters": [
            {"name": f"outbound|9080|v1|{HOST}", "weight": 80},
            {"name": f"outbound|9080|v2|{HOST}", "weight": 20},
        ]
    }


def test_a_destination_without_a_port_is_the_only_one_of_its_service_else_the_one_called() -> None:
    one = service("one.a.svc.cluster.local", ports=(THRIFT_PORT,))
    two = service("two.a.svc.cluster.local", ports=(THRIFT_PORT, GRPC_PORT))
    split = http(destinations=tuple(to(host=each.hostname, weight=1) for each in (one, two)))
    (made,) = routes(SERVICE, one, two, virtual(split))
    assert [each["name"] for each in made["route"]["weighted_clusters"]["clusters"]] == [
        "outbound|9090||one.a.svc.cluster.local",
        "outbound|9080||two.a.svc.cluster.local",
    ]


def test_a_match_of_another_port_is_not_for_this_one() -> None:
    made = routes(virtual(http(HttpMatch(port=1)), http(HttpMatch(port=9080), subset="v2")))
    assert clusters(made) == ["v2"]


def test_the_timeout_is_written_for_both_kinds_of_client() -> None:
    (made,) = routes(virtual(http(timeout_s=1.5)))
    assert made["route"]["timeout"] == "1.500s"
    assert made["route"]["max_stream_duration"] == {"max_stream_duration": "1.500s"}


RETRIES = Retries(9, ("503", "connect-failure", "internal"), 0.2, 0.01)


def test_grpc_retries_on_what_it_knows_and_the_rest_is_named() -> None:
    retried = virtual(http(retries=RETRIES))
    assert routes(retried)[0]["route"]["retry_policy"] == {
        "retry_on": "internal",
        "num_retries": 9,
        "retry_back_off": {"base_interval": "0.010s"},
    }
    assert left_out(retried) == [
        "retries of route http[0]: gRPC's client has no perTryTimeout",
        "retries of route http[0]: gRPC's client tries 5 times at most",
        "retries of route http[0]: gRPC's client does not know 503, connect-failure",
    ]


def test_the_sdk_gets_the_whole_retry_policy() -> None:
    retried = virtual(http(retries=RETRIES))
    assert routes(retried, client=Client.SDK)[0]["route"]["retry_policy"] == {
        "retry_on": "connect-failure,internal,retriable-status-codes",
        "num_retries": 9,
        "retriable_status_codes": [503],
        "per_try_timeout": "0.200s",
        "retry_back_off": {"base_interval": "0.010s"},
    }
    assert left_out(retried, client=Client.SDK) == []


@pytest.mark.parametrize("client", BOTH)
def test_no_attempts_are_no_retries(client: Client) -> None:
    (made,) = routes(virtual(http(retries=Retries(0))), client=client)
    assert "retry_policy" not in made["route"]


def test_headers_are_changed_by_the_sdk_and_named_for_grpc() -> None:
    changes = HeaderChanges(set=(("a", "1"),), add=(("b", "2"),), remove=("c",))
    own = to(request=HeaderChanges(add=(("d", "3"),)), response=HeaderChanges(remove=("e",)))
    rule_ = virtual(http(request=changes, destinations=(own,)))
    (made,) = routes(rule_, client=Client.SDK)
    added = [
        (each["header"]["key"], each.get("append_action"))
        for each in made["request_headers_to_add"]
    ]
    assert added == [("a", "OVERWRITE_IF_EXISTS_OR_ADD"), ("b", None), ("d", None)]
    assert made["request_headers_to_remove"] == ["c"]
    assert made["response_headers_to_remove"] == ["e"]
    assert "request_headers_to_add" not in routes(rule_)[0]
    assert left_out(rule_) == ["headers of route http[0]: gRPC's client changes no headers"]


def test_absent_headers_are_routes_of_their_own_for_grpc() -> None:
    without = http(HttpMatch(without_headers=(("lane", StringMatch("exact", "dev")),)))
    absent, other = routes(virtual(without))
    assert absent["match"]["headers"] == [
        {"name": "lane", "present_match": True, "invert_match": True}
    ]
    assert other["match"]["headers"] == [
        {"name": "lane", "string_match": {"exact": "dev"}, "invert_match": True}
    ]
    (one,) = routes(virtual(without), client=Client.SDK)
    assert one["match"]["headers"][0]["treat_missing_header_as_empty"] is True


@pytest.mark.parametrize(
    ("method", "taken"),
    [(("exact", "POST"), True), (("exact", "GET"), False), (("regex", "P.*"), True)],
)
def test_the_http_method_of_grpc_is_post(method: tuple[Any, str], taken: bool) -> None:
    rule_ = virtual(http(HttpMatch(method=StringMatch(*method))), http(subset="v2"))
    assert clusters(routes(rule_)) == (["v1", "v2"] if taken else ["v2"])
    sdk = routes(rule_, client=Client.SDK)
    assert sdk[0]["match"]["headers"][0]["name"] == ":method"


@pytest.mark.parametrize(
    "match",
    [
        HttpMatch(unsupported=("queryParams",)),
        HttpMatch(headers=(("key-bin", StringMatch("present")),)),
        HttpMatch(without_headers=tuple((f"h{n}", StringMatch("present")) for n in range(7))),
    ],
)
def test_a_match_that_grpc_cannot_decide_takes_nothing_and_is_named(match: HttpMatch) -> None:
    rule_ = virtual(http(match), http(subset="v2"))
    assert clusters(routes(rule_)) == ["v2"]
    (said,) = left_out(rule_)
    assert said.startswith("a match of route http[0]: ")


def test_a_rule_of_which_nothing_is_left_answers_with_an_error() -> None:
    (made,) = routes(virtual(http(HttpMatch(unsupported=("scheme",)))))
    assert made["direct_response"]["status"] == 404


def test_what_is_not_there_yet_is_answered_with_an_error_that_says_so() -> None:
    (made,) = routes(virtual(HttpRoute(refused="redirect is not there yet")))
    assert made["direct_response"]["status"] == 501
    assert "redirect is not there yet" in made["direct_response"]["body"]["inline_string"]


def test_the_most_specific_host_wins_then_the_first_rule_that_the_caller_sees() -> None:
    wide = virtual(http(subset="wide"), name="a", hosts=("*.svc.cluster.local",))
    wider = virtual(http(subset="wider"), name="a0", hosts=("*.local",))
    hidden = virtual(http(subset="hidden"), name="b", namespace="web", export_to=(".",))
    first = virtual(http(subset="first"), name="c")
    second = virtual(http(subset="second"), name="d")
    assert clusters(routes(SERVICE, wider, wide, hidden, first, second)) == ["first"]
    assert clusters(routes(SERVICE, wider, wide, hidden)) == ["wide"]


def test_routes_for_other_callers_are_not_there() -> None:
    rule_ = virtual(
        http(HttpMatch(source_labels=(("app", "client"),)), subset="mine"),
        http(HttpMatch(source_labels=(("app", "other"),)), subset="others"),
        http(HttpMatch(source_namespace="web"), subset="webs"),
        http(HttpMatch(source_namespace=NAMESPACE), subset="ours"),
    )
    assert clusters(routes(SERVICE, rule_)) == ["mine", "ours"]


def test_a_stranger_is_who_its_metadata_says() -> None:
    rule_ = virtual(
        http(HttpMatch(source_labels=(("app", "x"),), source_namespace="web"), subset="v2"),
        http(),
    )
    of = mesh(SERVICE, rule_)
    translator = Translator()

    def subsets(**metadata: Any) -> list[str]:
        to_ = Node.of("s", metadata={"GENERATOR": "grpc", **metadata})
        body = translator.resources(of, to_)[messages.ROUTE][NAME].body
        made = messages.any_to_json(messages.ROUTE, body)
        return clusters(made["virtual_hosts"][0]["routes"])

    assert subsets(NAMESPACE="web", LABELS={"app": "x", "more": "1"}) == ["v2", "v1"]
    assert subsets(NAMESPACE="web", LABELS={"app": "y"}) == ["v1"]
    assert subsets(NAMESPACE="x", LABELS={"app": "x"}) == ["v1"]
    assert subsets() == ["v1"]


def test_where_no_route_is_for_the_caller_there_is_no_rule() -> None:
    (only,) = routes(virtual(http(HttpMatch(source_namespace="web"))))
    assert only["route"]["cluster"] == NAME


def test_a_meta_router_wins_where_a_codec_reads_the_protocol_and_nowhere_else() -> None:
    both = service(ports=(THRIFT_PORT, GRPC_PORT))
    of = (both, virtual(http(subset="v1")), router(route("meta", ("v2", 100))))
    assert clusters(routes(*of)) == ["v1"]
    thrift = routes(*of, name=f"outbound|9090||{HOST}")
    assert [(each["name"], clusters([each])) for each in thrift] == [("meta", ["v2"])]


def test_nothing_is_tried_twice_by_default_where_calls_need_not_be_idempotent() -> None:
    thrift = f"outbound|9090||{HOST}"
    (made,) = routes(service(), virtual(http()), name=thrift)
    assert "retry_policy" not in made["route"]


def test_a_change_of_the_rule_builds_its_routes_and_nothing_else() -> None:
    translator = Translator()
    to_ = node(CLIENT, Client.GRPC)
    other = service("other.a.svc.cluster.local", ports=(GRPC_PORT,))
    before = mesh(SERVICE, other, virtual(http(subset="v1")))
    first = translator.resources(before, to_)
    built = dict(translator.built)
    after = dataclasses.replace(before, virtual_services=(virtual(http(subset="v2")),))
    second = translator.resources(after, to_)
    assert translator.built[messages.ROUTE] == built[messages.ROUTE] + 1
    assert second[messages.LISTENER] is first[messages.LISTENER]
    assert second[messages.CLUSTER] is first[messages.CLUSTER]
    assert second[messages.ROUTE][NAME] != first[messages.ROUTE][NAME]
    gone = translator.resources(dataclasses.replace(after, virtual_services=()), to_)
    made = messages.any_to_json(messages.ROUTE, gone[messages.ROUTE][NAME].body)
    assert clusters(made["virtual_hosts"][0]["routes"]) == [""]


def test_a_service_that_gets_a_second_port_changes_the_rules_that_lead_to_it() -> None:
    translator = Translator()
    to_ = node(CLIENT, Client.GRPC)
    there = service("there.a.svc.cluster.local", ports=(THRIFT_PORT,))
    before = mesh(SERVICE, there, virtual(http(destinations=(to(host=there.hostname),))))

    def cluster(of: Mesh) -> str:
        body = translator.resources(of, to_)[messages.ROUTE][NAME].body
        made = messages.any_to_json(messages.ROUTE, body)
        (only,) = made["virtual_hosts"][0]["routes"]
        return str(only["route"]["cluster"])

    assert cluster(before) == f"outbound|9090||{there.hostname}"
    two = dataclasses.replace(there, ports=(THRIFT_PORT, GRPC_PORT))
    services = {**before.services, there.hostname: two}
    assert cluster(dataclasses.replace(before, services=services)) == (
        f"outbound|9080||{there.hostname}"
    )


def test_a_call_of_ours_hashes_what_the_rules_of_its_destinations_say() -> None:
    by_user = TrafficPolicy(load_balancer=ConsistentHash("user"))
    by_lane = TrafficPolicy(load_balancer=ConsistentHash("lane"))
    subsets = (
        Subset("v1", (("version", "v1"),)),
        Subset("v2", (("version", "v2"),), by_lane),
        Subset("v3", (("version", "v3"),), by_user),
    )
    split = http(destinations=(to("v1", 50), to("v2", 50), to("v3", 0)))
    ruled = rule(policy=by_user, subsets=subsets)
    for routes, expected in (((http(subset="v2"), split), [["lane"], ["user", "lane"]]), ((), 0)):
        of = mesh(SERVICE, ruled, *((virtual(*routes),) if routes else ()))
        (host,) = configuration(of, Client.SDK)["virtual_hosts"]
        keys = [
            [policy["header"]["header_name"] for policy in each["route"]["hash_policy"]]
            for each in host["routes"]
        ]
        assert keys == (expected or [["user"]])
        for client in (Client.GRPC, Client.KITEX):
            found = resources(of, node(CLIENT, client))["RouteConfiguration"]
            assert "hash_policy" not in str(found)

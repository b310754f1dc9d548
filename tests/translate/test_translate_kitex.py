"""What Kitex is told: nothing that it would read as something else."""

from __future__ import annotations

import dataclasses
from typing import Any

import kitex_reader
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.model import (
    Destination,
    Endpoint,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    LimitCondition,
    LocalRateLimit,
    MeshMode,
    Resolution,
    Retries,
    ServicePort,
    StringMatch,
    TokenBucket,
    VirtualService,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client, Node
from sample_mesh import (
    CLIENT,
    HOST,
    NAMESPACE,
    SERVERS,
    mesh,
    node,
    resources,
    route,
    router,
    service,
    stranger,
)

PORT = ServicePort(9080, "", "tcp", 9080)
SERVICE = service(ports=(PORT,), endpoints=((9080, (Endpoint("127.9.1.1", 9080, weight=0),)),))
NAME = f"{HOST}:9080"
PATH = "/reviews.ReviewsService/ReviewProduct"
KITEX = node(CLIENT, Client.KITEX)
SECOND_NS = 1_000_000_000


def to(subset: str, weight: int = 100) -> HttpDestination:
    return HttpDestination(Destination(HOST, subset), weight)


def rule(*routes: HttpRoute) -> VirtualService:
    return VirtualService(NAMESPACE, "rule", (HOST,), routes)


def http(*matches: HttpMatch, subset: str = "v2", **more: Any) -> HttpRoute:
    return HttpRoute(matches=matches, **{"destinations": (to(subset),), **more})


def configuration(*routes: HttpRoute) -> dict[str, Any]:
    made = resources(mesh(SERVICE, *([rule(*routes)] if routes else [])), KITEX)
    found: dict[str, Any] = made["RouteConfiguration"][NAME]
    return found


def left_out(made: dict[str, Any]) -> list[str]:
    ours = made.get("metadata", {}).get("filter_metadata", {}).get("meltemi", {})
    found: list[str] = ours.get("left_out", [])
    return found


def subset(made: dict[str, Any], path: str = PATH, **metadata: str) -> str:
    picked = kitex_reader.read(made, path, metadata)
    assert picked is not None
    (cluster,) = picked.shares
    return cluster.split("|")[2]


def condition(kind: Any, value: str = "") -> HttpMatch:
    return HttpMatch(headers=(("baggage", StringMatch(kind, value)),))


def test_a_listener_is_found_by_the_address_that_the_name_table_says() -> None:
    made = resources(mesh(SERVICE), KITEX)
    (table,) = made["NameTable"].values()
    (address,) = table["table"][HOST]["ips"]
    assert address.startswith("2")
    assert table["table"][HOST] | {"ips": []} == {
        "ips": [],
        "registry": "Kubernetes",
        "shortname": "server",
        "namespace": NAMESPACE,
    }
    listener = made["Listener"][f"{address}_9080"]
    ((manager,),) = [chain["filters"] for chain in listener["filter_chains"]]
    assert manager["typed_config"]["rds"]["route_config_name"] == NAME
    assert NAME in made["RouteConfiguration"]


def test_a_mesh_without_services_has_a_name_table_all_the_same() -> None:
    empty = dataclasses.replace(mesh(SERVICE), services={})
    (table,) = Translator().resources(empty, KITEX)[messages.NAME_TABLE].values()
    assert messages.parse(messages.NAME_TABLE, table.body).table == {}


def test_addresses_stay_when_other_services_come() -> None:
    other = service("other.meta-thrift.svc.cluster.local", ports=(PORT,))
    few, many = (
        resources(of, KITEX)["NameTable"][""]["table"]
        for of in (mesh(SERVICE), mesh(other, SERVICE))
    )
    assert few[HOST] == many[HOST]
    assert many[HOST]["ips"] != many[other.hostname]["ips"]


def test_a_services_own_address_is_taken_once() -> None:
    first = service("a.example.com", addresses=("10.0.0.0/8", "10.1.2.3"), external=True)
    second = dataclasses.replace(first, hostname="b.example.com")
    table = resources(mesh(first, second), KITEX)["NameTable"][""]["table"]
    assert table["a.example.com"]["ips"] == ["10.1.2.3"]
    assert table["b.example.com"]["ips"] != ["10.1.2.3"]
    assert table["a.example.com"]["registry"] == "External"


def test_without_a_rule_any_path_leads_to_the_whole_service() -> None:
    made = configuration()
    (virtual_host,) = made["virtual_hosts"]
    assert (virtual_host["name"], virtual_host["domains"]) == (NAME, ["*"])
    (only,) = virtual_host["routes"]
    assert only["match"] == {"prefix": "/"}
    assert only["route"] == {
        "cluster": f"outbound|9080||{HOST}",
        "retry_policy": {"num_retries": 0},
    }


@pytest.mark.parametrize(
    ("kind", "value", "taken", "refused"),
    [
        ("exact", "env=dev", ["env=dev"], ["env=dev,a=b", "xenv=dev", ""]),
        ("exact", "", [""], ["x"]),
        ("prefix", "env", ["env", "env=dev"], ["xenv", ""]),
        ("prefix", "", ["", "x"], []),
        ("regex", "dev|test", ["dev", "test"], ["develop", "a test", ""]),
        ("regex", "^dev$", ["dev"], ["develop"]),
        ("regex", "(?i:dev)", ["DEV"], ["DEVs"]),
        ("present", "", ["", "x"], []),
    ],
)
def test_a_header_means_the_same_to_kitex(
    kind: str, value: str, taken: list[str], refused: list[str]
) -> None:
    made = configuration(http(condition(kind, value)), http(subset="v1"))
    assert not left_out(made)
    assert [subset(made, baggage=each) for each in taken] == ["v2"] * len(taken)
    assert [subset(made, baggage=each) for each in refused] == ["v1"] * len(refused)
    assert subset(made) == "v1"


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (
            HttpMatch(without_headers=(("lane", StringMatch("present")),)),
            "Kitex cannot test that header lane is not there or differs",
        ),
        (
            HttpMatch(uri=StringMatch("prefix", "/reviews.")),
            "Kitex tests a path for equality alone",
        ),
        (HttpMatch(uri=StringMatch("regex", "/r.*")), "Kitex tests a path for equality alone"),
        (
            HttpMatch(uri=StringMatch("exact", PATH), ignore_uri_case=True),
            "Kitex tests a path for equality alone, and with its case",
        ),
        (
            HttpMatch(headers=(("a", StringMatch("exact", "b")), ("a", StringMatch("exact", "c")))),
            "Kitex takes one condition a header, and a has more",
        ),
        (HttpMatch(unsupported=("queryParams",)), "queryParams is not there yet"),
    ],
)
def test_what_kitex_would_read_as_no_condition_is_left_out(match: HttpMatch, reason: str) -> None:
    made = configuration(http(match, name="canary"), http(subset="v1"))
    assert left_out(made) == [f"a match of route 'canary': {reason}"]
    assert subset(made, lane="", a="c") == "v1"


@pytest.mark.parametrize("uri", [("prefix", "/"), ("regex", "/.*"), ("regex", ".*"), None])
def test_any_path_is_any_path(uri: tuple[Any, str] | None) -> None:
    match = HttpMatch(
        uri=StringMatch(*uri) if uri else None, headers=condition("exact", "x").headers
    )
    made = configuration(http(match), http(subset="v1"))
    assert (subset(made, baggage="x"), subset(made)) == ("v2", "v1")


def test_a_path_is_that_of_one_method() -> None:
    made = configuration(http(HttpMatch(uri=StringMatch("exact", PATH))), http(subset="v1"))
    assert (subset(made), subset(made, "/reviews.ReviewsService/Other")) == ("v2", "v1")


def test_a_rule_without_a_route_for_kitex_answers_that_there_is_none() -> None:
    made = configuration(http(HttpMatch(uri=StringMatch("prefix", "/a"))))
    picked = kitex_reader.read(made, PATH, {})
    assert picked is not None
    assert picked.shares == {}
    assert picked.route["direct_response"]["status"] == 404


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any))
def test_shares_are_what_the_rule_says_to_a_hundredth(weights: list[int]) -> None:
    destinations = tuple(to(f"v{n}", weight) for n, weight in enumerate(weights))
    made = configuration(HttpRoute(destinations=destinations))
    picked = kitex_reader.read(made, PATH, {})
    assert picked is not None
    found = {cluster.split("|")[2]: share for cluster, share in picked.shares.items()}
    total = sum(weights) if len(weights) > 1 else weights[0]
    for n, weight in enumerate(weights):
        wanted = weight / total
        assert found.get(f"v{n}", 0) == pytest.approx(wanted, abs=0.0101)
        if weight:
            assert found[f"v{n}"] == pytest.approx(wanted, rel=0.11, abs=0.0002)


def test_the_heaviest_cluster_comes_first_and_none_has_no_weight() -> None:
    made = configuration(HttpRoute(destinations=(to("v1", 20), to("v2", 0), to("v3", 80))))
    weighted = made["virtual_hosts"][0]["routes"][0]["route"]["weighted_clusters"]["clusters"]
    assert [(each["name"].split("|")[2], each["weight"]) for each in weighted] == [
        ("v3", 80),
        ("v1", 20),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, 0),
        (Retries(0), 0),
        (Retries(3, ("connect-failure",), 0.5), 3),
        (Retries(9), 5),
    ],
)
def test_each_route_says_how_often_a_call_is_repeated(
    wanted: Retries | None, expected: int
) -> None:
    made = configuration(http(retries=wanted))
    policy = made["virtual_hosts"][0]["routes"][0]["route"]["retry_policy"]
    assert policy["num_retries"] == expected
    many = wanted is not None and wanted.attempts > 5
    said = ["retries of route http[0]: Kitex tries 6 times at most"] if many else []
    assert left_out(made) == said


def test_changes_of_headers_are_named() -> None:
    made = configuration(http(request=HeaderChanges(set=(("a", "b"),))))
    assert left_out(made) == ["headers of route http[0]: Kitex changes no headers"]


def test_a_timeout_is_the_routes_and_nothing_more() -> None:
    made = configuration(http(timeout_s=1.5))
    action = made["virtual_hosts"][0]["routes"][0]["route"]
    assert action["timeout"] == "1.500s"
    assert "max_stream_duration" not in action


def test_a_meta_router_decides_for_its_protocol() -> None:
    found = resources(
        mesh(
            router(
                route("lane", ("v2", 100), lane=("regex", "b|c")),
                route("by-service", ("v2", 100), service=("exact", "Hello")),
                route("rest", ("v1", 100)),
            )
        ),
        KITEX,
    )
    configuration = found["RouteConfiguration"][f"{HOST}:9090"]
    assert (subset(configuration, lane="c"), subset(configuration, lane="cd")) == ("v2", "v1")
    assert left_out(configuration) == [
        "a match of route 'by-service': attribute service of Kitex's calls is not there yet"
    ]
    assert [each["name"].rpartition(".")[2] for each in filters(found)] == [
        "http_connection_manager"
    ]


def filters(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    (listener,) = [each for name, each in found["Listener"].items() if name.endswith("_9090")]
    (chain,) = listener["filter_chains"]
    made: list[dict[str, Any]] = chain["filters"]
    return made


def test_a_meta_router_by_method_is_a_thrift_proxy_that_kitex_tries_first() -> None:
    found = resources(
        mesh(
            router(
                route("lane", ("v2", 100), lane=("prefix", "b")),
                route(
                    "hello", ("v1", 1), ("v2", 1), method=("exact", "sayHello"), a=("present", "")
                ),
                route("regex", ("v2", 100), method=("regex", "s.*")),
                route("rest", ("v1", 100)),
            )
        ),
        KITEX,
    )
    thrift, manager = filters(found)
    assert manager["name"].endswith("http_connection_manager")
    assert [each["match"] for each in thrift["typed_config"]["route_config"]["routes"]] == [
        {"method_name": "", "headers": [{"name": "lane", "string_match": {"prefix": "b"}}]},
        {
            "method_name": "sayHello",
            "headers": [{"name": "a", "string_match": {"safe_regex": {"regex": "^.*$"}}}],
        },
        {"method_name": ""},
    ]
    split = thrift["typed_config"]["route_config"]["routes"][1]["route"]["weighted_clusters"]
    assert [each["weight"] for each in split["clusters"]] == [5000, 5000]
    configuration = found["RouteConfiguration"][f"{HOST}:9090"]
    assert [each["name"] for each in configuration["virtual_hosts"][0]["routes"]] == [
        "lane",
        "rest",
    ]
    assert left_out(configuration) == [
        "a match of route 'regex': attribute method of Kitex's calls is not there yet"
    ]


def test_endpoints_have_a_weight_and_no_more_than_kitex_reads() -> None:
    found = resources(mesh(SERVICE), KITEX)["ClusterLoadAssignment"][f"outbound|9080||{HOST}"]
    assert found["endpoints"][0]["lb_endpoints"] == [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "127.9.1.1", "port_value": 9080}}
            },
            "health_status": "HEALTHY",
            "load_balancing_weight": 1,
        }
    ]


def test_names_are_resolved_by_kitex() -> None:
    named = dataclasses.replace(
        SERVICE,
        resolution=Resolution.DNS,
        endpoints=((9080, (Endpoint("a.example", 1), Endpoint("b.example", 1))),),
    )
    cluster = resources(mesh(named), KITEX)["Cluster"][f"outbound|9080||{HOST}"]
    assert cluster["type"] == "LOGICAL_DNS"
    assert len(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2


LIMITED = LocalRateLimit(
    (LimitCondition((), TokenBucket(1, 1, SECOND_NS)),), TokenBucket(500, 600, 60 * SECOND_NS)
)


def test_a_server_is_told_what_it_may_be_asked_a_second() -> None:
    limited = router(local_rate_limit=LIMITED)
    workload = dataclasses.replace(SERVERS[0], mode=MeshMode.PROXYLESS)
    made = resources(mesh(limited, workload), node(workload, Client.KITEX))["Listener"]
    listener = made["virtualInbound"]
    (chain,) = listener["filter_chains"]
    assert chain["filter_chain_match"] == {"destination_port": 9090}
    manager = chain["filters"][0]["typed_config"]
    assert manager["route_config"]["virtual_hosts"][0]["routes"]
    bucket = manager["http_filters"][0]["typed_config"]["value"]["token_bucket"]
    assert bucket == {"max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "1s"}
    assert left_out(listener) == [
        f"localRateLimit of port 9090: Kitex tests no conditions ({HOST})"
    ]


def test_who_serves_nothing_that_is_limited_has_no_inbound_listener() -> None:
    limited = router(local_rate_limit=LIMITED)
    for who in (KITEX, stranger("sidecar~10.0.0.1~a.b~b.svc.cluster.local", Client.KITEX)):
        assert "virtualInbound" not in resources(mesh(limited), who)["Listener"]


def test_labels_that_a_client_claims_decide_which_routes_are_its() -> None:
    match = HttpMatch(source_labels=(("app", "web"),))
    of = mesh(SERVICE, rule(http(match), http(subset="v1")))
    for labels, expected in (({"app": "web"}, "v2"), ({"app": "other"}, "v1")):
        who = Node.of("a", metadata={"LABELS": labels, "NAMESPACE": NAMESPACE})
        assert subset(resources(of, who)["RouteConfiguration"][NAME]) == expected

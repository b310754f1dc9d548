"""Where the original misreads routes, this client reads them as Envoy does: over ADS, to its calls.

The numbers are those of docs/proxyless-points.md.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from meltemi.proxyless import NoRouteError
from meltemi.proxyless.mesh import Mesh
from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE
from mesh_fixtures import Connect, Serve, until
from scripted_server import ScriptedServer, cluster, endpoints, listener

PATH = "/shop.Books/One"
TARGET = "books:9080"
PORTS = {"v1": 7001, "v2": 7002, "v3": 7003}


def configuration(name: str, *hosts: dict[str, Any]) -> Any:
    body = {"name": name, "virtual_hosts": list(hosts)}
    return messages.resource(
        name, messages.from_json("envoy.config.route.v3.RouteConfiguration", body)
    )


def host(*routes: dict[str, Any], name: str = "books", domains: tuple[str, ...] = ("*",)) -> Any:
    return {"name": name, "domains": list(domains), "routes": list(routes)}


def to(action: str | dict[str, int], match: dict[str, Any] | None = None, **more: Any) -> Any:
    """A route to one cluster, or to several by weight."""
    if isinstance(action, str):
        what: dict[str, Any] = {"cluster": action}
    else:
        clusters = [{"name": name, "weight": weight} for name, weight in action.items()]
        what = {"weighted_clusters": {"clusters": clusters}}
    return {"match": {"prefix": "/", **(match or {})}, "route": {**what, **more}}


def with_header(action: str, **matcher: Any) -> Any:
    return to(action, {"headers": [{"name": "x-lane", **matcher}]})


@pytest.fixture
def server(serve: Serve) -> ScriptedServer:
    made = serve()
    for name, port in PORTS.items():
        made.put(ENDPOINT, endpoints(name, f"127.0.0.1:{port}"))
        made.put(CLUSTER, cluster(name))
    made.put(LISTENER, listener(TARGET, "books"))
    return made


@pytest.fixture
def mesh(server: ScriptedServer, connect: Connect) -> Mesh:
    return connect(server.address)


def rules(server: ScriptedServer, *routes: dict[str, Any]) -> None:
    server.put(ROUTE, configuration("books", host(*routes)))


def taken(mesh: Mesh, *headers: tuple[str, str], path: str = PATH, target: str = TARGET) -> str:
    call = mesh.call(mesh.target(target), path, headers)
    call.succeeded()
    return call.cluster


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"v1": 80, "v2": 20}, {"v1": 800, "v2": 200}),
        ({"v1": 1, "v2": 1}, {"v1": 500, "v2": 500}),
        ({"v1": 0, "v2": 100}, {"v2": 1000}),
        ({"v1": 1, "v2": 0, "v3": 1}, {"v1": 500, "v3": 500}),
    ],
)
def test_1_weights_are_shares_and_0_is_none(
    server: ScriptedServer, mesh: Mesh, weights: dict[str, int], shares: dict[str, int]
) -> None:
    rules(server, to(weights))
    seen = Counter(taken(mesh) for _ in range(1000))
    assert seen.keys() == shares.keys()
    assert all(abs(seen[name] - share) <= 10 for name, share in shares.items())


MATCHERS: list[tuple[dict[str, Any], tuple[str, ...], tuple[str | None, ...]]] = [
    # what the route says; values that it is for; values that it is not for (None: no header)
    ({"present_match": True}, ("dev", ""), (None,)),
    ({"present_match": False}, (), ("dev",)),
    ({"string_match": {"suffix": "-dev"}}, ("a-dev",), ("dev", "a-dev-b", None)),
    ({"string_match": {"contains": "de"}}, ("a-dev",), ("d", None)),
    ({"string_match": {"prefix": "de"}}, ("dev",), ("a-dev", None)),
    ({"string_match": {"exact": "dev"}, "invert_match": True}, ("blue",), ("dev",)),
    ({"string_match": {"exact": "dev", "ignore_case": True}}, ("DeV",), ("devs", None)),
    ({"range_match": {"start": 3, "end": 5}}, ("3", "4"), ("5", "x", "", None)),
    ({"exact_match": "dev"}, ("dev",), ("blue", None)),
    ({"prefix_match": "de"}, ("dev",), ("blue", None)),
    ({"suffix_match": "ev"}, ("dev",), ("blue", None)),
    ({"contains_match": "e"}, ("dev",), ("x", None)),
    ({"safe_regex_match": {"regex": "d.v"}}, ("dev",), ("a-dev", None)),
]


@pytest.mark.parametrize(("matcher", "hold", "fail"), MATCHERS, ids=[str(m[0]) for m in MATCHERS])
def test_2_every_matcher_is_read_as_it_is_meant(
    server: ScriptedServer,
    mesh: Mesh,
    matcher: dict[str, Any],
    hold: tuple[str, ...],
    fail: tuple[str | None, ...],
) -> None:
    rules(server, with_header("v2", **matcher), to("v1"))
    assert [taken(mesh, ("x-lane", value)) for value in hold] == ["v2"] * len(hold)
    for value in fail:
        assert taken(mesh, *([] if value is None else [("x-lane", value)])) == "v1"


@pytest.mark.parametrize(
    "matcher",
    [
        {"string_match": {"exact": ""}},
        {"string_match": {"custom": {"name": "mine", "typed_config": None}}},
    ],
    ids=["empty", "custom"],
)
def test_2_what_cannot_hold_takes_no_call(
    server: ScriptedServer, mesh: Mesh, matcher: dict[str, Any]
) -> None:
    rules(server, with_header("v2", **matcher), to("v1"))
    assert {taken(mesh), taken(mesh, ("x-lane", "dev")), taken(mesh, ("x-lane", "x"))} == {"v1"}


def test_2_an_expression_that_is_none_changes_nothing(server: ScriptedServer, mesh: Mesh) -> None:
    rules(server, to("v1"))
    assert taken(mesh) == "v1"
    rules(server, with_header("v2", safe_regex_match={"regex": "(de"}), to("v3"))
    until(lambda: mesh.status()["types"]["RouteConfiguration"]["error"])
    assert (taken(mesh), taken(mesh, ("x-lane", "dev"))) == ("v1", "v1")


@pytest.mark.parametrize("value", ["n", "prod|canary", "canary-2", "a-prod"])
def test_3_an_expression_is_about_the_whole_value(
    server: ScriptedServer, mesh: Mesh, value: str
) -> None:
    rules(
        server, with_header("v2", string_match={"safe_regex": {"regex": "canary|prod"}}), to("v1")
    )
    assert [taken(mesh, ("x-lane", each)) for each in ("canary", "prod")] == ["v2", "v2"]
    assert taken(mesh, ("x-lane", value)) == "v1"


def test_4_the_last_of_two_headers_does_not_hide_the_first(
    server: ScriptedServer, mesh: Mesh
) -> None:
    rules(server, with_header("v2", string_match={"contains": "dev"}), to("v1"))
    twice = [("x-lane", "dev"), ("x-lane", "blue")]
    assert (taken(mesh, *twice), taken(mesh, *reversed(twice))) == ("v2", "v2")


def test_4_what_else_a_route_asks_for_is_asked(server: ScriptedServer, mesh: Mesh) -> None:
    parameter = {"name": "debug", "string_match": {"exact": "1"}}
    metadata = {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": True}}
    rules(
        server,
        to("v2", {"query_parameters": [parameter]}),
        to("v3", {"dynamic_metadata": [metadata]}),
        to("v1"),
    )
    assert taken(mesh, path=PATH) == "v1"
    assert taken(mesh, path=f"{PATH}?debug=0") == "v1"
    assert taken(mesh, path=f"{PATH}?debug=1") == "v2"


def test_5_paths_match_by_prefix_and_expression(server: ScriptedServer, mesh: Mesh) -> None:
    expression = {"match": {"safe_regex": {"regex": "/shop\\..*/Many"}}, "route": {"cluster": "v3"}}
    rules(server, to("v2", {"prefix": "/shop.Books/O"}), expression, to("v1"))
    found = [taken(mesh, path=f"/shop.Books/{method}") for method in ("One", "Many", "Sum")]
    assert found == ["v2", "v3", "v1"]


def test_6_services_that_share_a_port_keep_their_own_routes(
    server: ScriptedServer, mesh: Mesh
) -> None:
    hosts = [
        host(to("v1"), name="first", domains=("books:9080", "books.default:9080")),
        host(to("v2"), name="second", domains=("*.shop:9080",)),
    ]
    server.put(ROUTE, configuration("9080", *hosts))
    for name in ("books:9080", "pens.shop:9080", "stray.other:9080"):
        server.put(LISTENER, listener(name, "9080"))
    assert taken(mesh) == "v1"
    assert taken(mesh, target="pens.shop:9080") == "v2"
    with pytest.raises(NoRouteError, match="none of the 2 virtual hosts"):
        taken(mesh, target="stray.other:9080")


def test_8_the_first_wait_is_the_base_interval_and_not_the_longest(
    server: ScriptedServer, mesh: Mesh
) -> None:
    policy = {
        "retry_on": "unavailable",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.2s", "max_interval": "0.4s"},
    }
    rules(server, to("v1", retry_policy=policy))
    waits: list[list[float]] = []
    for _ in range(60):
        call = mesh.call(mesh.target(TARGET), PATH)
        waits.append([call.failed("unavailable") or 0.0 for _ in range(3)])
        assert call.failed("unavailable") is None
    firsts, seconds, thirds = ([each[place] for each in waits] for place in range(3))
    assert max(firsts) < 0.2
    assert 0.2 < max(seconds) <= 0.4
    assert max(thirds) <= 0.4
    assert len(set(firsts)) > 40


def retries(mesh: Mesh, target: str, path: str = PATH) -> int:
    call, count = mesh.call(mesh.target(target), path), 0
    while call.failed("unavailable") is not None:
        count += 1
    return count


def with_retries(count: int, match: dict[str, Any] | None = None) -> Any:
    return to("v1", match, retry_policy={"retry_on": "unavailable", "num_retries": count})


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_9_retries_are_the_routes_own_and_stay_when_other_routes_come(
    server: ScriptedServer, connect: Connect, delta: bool
) -> None:
    mesh = connect(server.address, delta=delta)
    rules(server, with_retries(3, {"prefix": "/shop.Books/Many"}), with_retries(1))
    assert (retries(mesh, TARGET, "/shop.Books/Many"), retries(mesh, TARGET)) == (3, 1)
    server.put(ROUTE, configuration("pens", host(with_retries(2))))
    server.put(LISTENER, listener("pens:9080", "pens"))
    assert retries(mesh, "pens:9080") == 2
    assert (retries(mesh, TARGET, "/shop.Books/Many"), retries(mesh, TARGET)) == (3, 1)


def test_9_what_arrived_is_sent_again_only_where_a_route_says_so(
    server: ScriptedServer, mesh: Mesh
) -> None:
    rules(server, to("v1"))
    for reason in ("timeout", "unavailable", "reset", "cancelled"):
        assert mesh.call(mesh.target(TARGET), PATH).failed(reason) is None


def test_10_a_timeout_of_0_is_none_and_not_the_callers(server: ScriptedServer, mesh: Mesh) -> None:
    rules(server, to("v1", {"prefix": "/shop.Books/Many"}, timeout="0s"), to("v1", timeout="2s"))
    target = mesh.target(TARGET)
    assert mesh.call(target, "/shop.Books/Many").timeout_s == 0.0
    assert mesh.call(target, PATH).timeout_s == 2.0


def test_19_a_lane_holds_beside_other_baggage_where_its_rule_says_a_member(
    server: ScriptedServer, mesh: Mesh
) -> None:
    """`exact` means the whole header, as everywhere; an expression finds the member."""
    member = {"safe_regex": {"regex": r"(.*,)?\s*env\s*=\s*dev\s*([;,].*)?"}}
    exact = to("v3", {"headers": [{"name": "baggage", "string_match": {"exact": "env=dev"}}]})
    found = to("v2", {"headers": [{"name": "baggage", "string_match": member}]})
    rules(server, exact, found, to("v1"))
    assert taken(mesh, ("baggage", "env=dev")) == "v3"
    for value in ("user=7,env=dev", "env=dev;ttl=5, user=7", "user=7, env = dev"):
        assert taken(mesh, ("baggage", value)) == "v2"
    for value in ("env=develop", "myenv=dev", "user=7"):
        assert taken(mesh, ("baggage", value)) == "v1"

"""What an Envoy that is a gateway gets, from documents."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from meltemi import config
from meltemi.analysis import dump, places
from meltemi.analysis.explain import Question, explain
from meltemi.lanes.envoy_filter import SLOTS
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client

BASE = """
apiVersion: v1
kind: Service
metadata: {name: page, namespace: shop}
spec: {selector: {app: page}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: rpc, namespace: shop}
spec: {selector: {app: rpc}, ports: [{name: grpc, port: 9000}, {name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rpc, namespace: shop}
spec:
  host: rpc
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: user}}}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: gateway, namespace: edge, labels: {istio: edge, zone: a}}
spec: {mesh: gateway, ports: [{name: http, port: 8080, hostPort: 8888}]}
"""
GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: main, namespace: edge}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
LANES = """
---
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: shop, namespace: shop}
spec: {baggageKey: env, services: [{host: page}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev, namespace: shop}
spec: {group: shop}
"""
TO_PAGE = "route: [{destination: {host: page}}]"


def gateway(name: str, servers: str, selector: str = "{istio: edge}") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: edge}}
spec: {{selector: {selector}, servers: [{servers}]}}
"""


def rule(http: str, name: str = "rule", hosts: str = '["*"]', gateways: str = "[edge/main]") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: {hosts}
  gateways: {gateways}
  http: {http}
"""


def mesh(*texts: str) -> Mesh:
    loaded = config.load([config.Source("mesh.yaml", dedent(BASE) + "".join(texts))])
    assert loaded.valid, loaded.issues
    return config.build(loaded.objects, Addresses())[0]


def got(*texts: str) -> dict[str, dict[str, Any]]:
    found = mesh(*texts)
    return dump.resources(found, places.replica(found, "gateway.edge"), Client.ENVOY)


def hosts(*texts: str) -> dict[str, list[dict[str, Any]]]:
    """The routes of port 8080 by domain."""
    (routes,) = got(*texts)["routes"].values()
    return {
        domain: host.get("routes", [])
        for host in routes["virtualHosts"]
        for domain in host["domains"]
    }


def test_a_port_is_opened_at_the_address_and_at_the_host_port() -> None:
    found = got(GATEWAY)
    address = places.replica(mesh(GATEWAY), "gateway.edge").instance.address
    assert set(found["listeners"]) == {f"{address}_8080", "127.0.0.1_8888"}
    for listener in found["listeners"].values():
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        assert manager["rds"]["routeConfigName"] == "http.8080"
        assert manager["useRemoteAddress"] and manager["normalizePath"]
        options = manager["commonHttpProtocolOptions"]
        assert options["headersWithUnderscoresAction"] == "REJECT_REQUEST"
        assert listener["enableReusePort"] is False


def test_a_gateway_without_rules_answers_404() -> None:
    ((domain, (route,)),) = hosts(GATEWAY).items()
    assert (domain, route["directResponse"]["status"]) == ("*", 404)


def test_a_gateway_of_other_labels_opens_nothing() -> None:
    other = gateway("other", "{port: {number: 1, name: a, protocol: HTTP}, hosts: ['*']}", "{a: b}")
    found = got(other)
    assert (found["listeners"], found["routes"]) == ({}, {})


@pytest.mark.parametrize("protocol", ["HTTPS", "TLS"])
def test_a_port_that_a_server_of_tls_is_for_is_not_opened_for_any_host(protocol: str) -> None:
    port = f"port: {{number: 8080, name: b, protocol: {protocol}}}"
    tls = f"{{{port}, hosts: [a.b], tls: {{mode: PASSTHROUGH}}}}"
    assert got(GATEWAY, gateway("tls", tls), rule(f"[{{{TO_PAGE}}}]"))["listeners"] == {}


def test_servers_of_several_gateways_are_one_port() -> None:
    more = gateway("more", "{port: {number: 8080, name: a, protocol: HTTP2}, hosts: [b.com]}")
    found = hosts(
        gateway("main", "{port: {number: 8080, name: a, protocol: HTTP}, hosts: [a.com]}"),
        more,
        rule(f"[{{name: one, {TO_PAGE}}}]", hosts='["*"]'),
        rule(f"[{{name: two, {TO_PAGE}}}]", "two", '["*.com"]', "[edge/more]"),
    )
    assert {domain: [route["name"] for route in of] for domain, of in found.items()} == {
        "a.com": ["one"],
        "b.com": ["two"],
    }


@pytest.mark.parametrize(
    ("server", "virtual", "both"),
    [
        ("*", "a.com", ["a.com"]),
        ("*.com", "a.com", ["a.com"]),
        ("a.com", "*.com", ["a.com"]),
        ("*.a.com", "*.com", ["*.a.com"]),
        ("*.com", "a.org", []),
        ("shop/a.com", "a.com", ["a.com"]),
        ("other/a.com", "a.com", []),
        ("./a.com", "a.com", []),
        ("*/a.com", "a.com", ["a.com"]),
    ],
)
def test_hosts_are_those_of_both(server: str, virtual: str, both: list[str]) -> None:
    one = f"{{port: {{number: 8080, name: a, protocol: HTTP}}, hosts: ['{server}']}}"
    found = hosts(gateway("main", one), rule(f"[{{{TO_PAGE}}}]", hosts=f"['{virtual}']"))
    assert list(found) == (both or ["*"])
    assert ("route" in found[(both or ["*"])[0]][0]) == bool(both)


def test_rules_of_one_host_follow_each_other_and_what_takes_everything_is_last() -> None:
    found = hosts(
        GATEWAY,
        rule(f"[{{name: all, {TO_PAGE}}}]", "a"),
        rule(f"[{{name: some, match: [{{uri: {{prefix: /x}}}}], {TO_PAGE}}}]", "b"),
    )
    assert [route["name"] for route in found["*"]] == ["some", "all"]


def test_a_match_is_decided_here_as_far_as_the_gateway_is_concerned() -> None:
    http = f"""[
      {{name: other, match: [{{gateways: [edge/other]}}], {TO_PAGE}}},
      {{name: mesh, match: [{{gateways: [mesh]}}], {TO_PAGE}}},
      {{name: port, match: [{{port: 81}}], {TO_PAGE}}},
      {{name: zone, match: [{{sourceLabels: {{zone: b}}}}], {TO_PAGE}}},
      {{name: from, match: [{{sourceNamespace: shop}}], {TO_PAGE}}},
      {{name: here, match: [{{gateways: [edge/main], port: 8080, sourceLabels: {{zone: a}},
        sourceNamespace: edge, uri: {{exact: /a}}}}], {TO_PAGE}}}]"""
    (route,) = hosts(GATEWAY, rule(http, hosts="[a.com]", gateways="[edge/main, mesh]"))["a.com"]
    assert (route["name"], route["match"]) == ("here", {"path": "/a"})


def test_a_rule_that_is_not_exported_here_does_not_hold() -> None:
    hidden = rule(f"[{{{TO_PAGE}}}]") + "  exportTo: ['.']\n"
    assert "directResponse" in hosts(GATEWAY, hidden)["*"][0]


def test_conditions_that_only_http_has() -> None:
    match = "scheme: {exact: http}, authority: {prefix: a}, queryParams: {q: {regex: '[0-9]+'}}"
    (route,) = hosts(GATEWAY, rule(f"[{{match: [{{{match}}}], {TO_PAGE}}}]"))["*"]
    headers = {each["name"]: each["stringMatch"] for each in route["match"]["headers"]}
    assert headers == {":scheme": {"exact": "http"}, ":authority": {"prefix": "a"}}
    (parameter,) = route["match"]["queryParameters"]
    assert (parameter["name"], parameter["stringMatch"]["safeRegex"]["regex"]) == ("q", "[0-9]+")


def test_where_a_host_has_one_port_that_is_meant_else_the_gateways() -> None:
    (page,) = hosts(GATEWAY, rule(f"[{{{TO_PAGE}}}]"))["*"]
    assert page["route"]["cluster"] == "outbound|80||page.shop.svc.cluster.local"
    (rpc,) = hosts(GATEWAY, rule("[{route: [{destination: {host: rpc}}]}]"))["*"]
    assert rpc["route"]["cluster"] == "outbound|8080||rpc.shop.svc.cluster.local"


def test_a_route_hashes_by_what_its_destination_balances_by() -> None:
    to = "route: [{destination: {host: rpc, port: {number: 9000}}}]"
    (route,) = hosts(GATEWAY, rule(f"[{{{to}}}]"))["*"]
    assert route["route"]["hashPolicy"] == [{"header": {"headerName": "user"}}]


def test_explain_says_that_it_does_not_know_a_gateways_routes() -> None:
    with pytest.raises(places.UnknownNameError, match="is a gateway"):
        explain(mesh(GATEWAY), Question(service="page.shop", caller="gateway.edge"))


def test_ports_of_http2_are_called_so() -> None:
    clusters = got(GATEWAY)["clusters"]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    rpc = clusters["outbound|9000||rpc.shop.svc.cluster.local"]
    explicit = rpc["typedExtensionProtocolOptions"][options]["explicitHttpConfig"]
    assert "http2ProtocolOptions" in explicit
    plain = clusters["outbound|80||rpc.shop.svc.cluster.local"]
    assert "typedExtensionProtocolOptions" not in plain


def test_timeouts_and_retries_are_istios() -> None:
    (route,) = hosts(GATEWAY, rule(f"[{{{TO_PAGE}}}]"))["*"]
    assert route["route"]["timeout"] == "0s"
    assert route["route"]["retryPolicy"]["numRetries"] == 2
    said = f"[{{timeout: 3s, retries: {{attempts: 0}}, {TO_PAGE}}}]"
    (route,) = hosts(GATEWAY, rule(said))["*"]
    assert route["route"]["timeout"] == "3s"
    assert "retryPolicy" not in route["route"]


def test_who_is_asked_again_is_another_endpoint_and_in_a_lane_one_to_fall_back_to() -> None:
    lane, plain = hosts(GATEWAY, LANES, rule(f"[{{{TO_PAGE}}}]"))["*"]
    for route in (lane, plain):
        (other,) = route["route"]["retryPolicy"]["retryHostPredicate"]
        assert other["name"] == "envoy.retry_host_predicates.previous_hosts"
    assert "previous_priorities" in lane["route"]["retryPolicy"]["retryPriority"]["name"]
    assert "retryPriority" not in plain["route"]["retryPolicy"]


def test_a_host_that_is_set_as_a_header_is_a_rewrite() -> None:
    """Envoy refuses all routes where one changes it as a header."""
    changes = "headers: {request: {set: {Host: inner, x: z}, remove: [':path', a]}}"
    (route,) = hosts(GATEWAY, rule(f"[{{{changes}, {TO_PAGE}}}]"))["*"]
    assert route["route"]["hostRewriteLiteral"] == "inner"
    assert [each["header"]["key"] for each in route["requestHeadersToAdd"]] == ["x"]
    assert route["requestHeadersToRemove"] == ["a"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("uri: /a", {"pathRedirect": "/a"}),
        ("prefixRewrite: /a", {"prefixRewrite": "/a"}),
        ("scheme: https, port: 443", {"schemeRedirect": "https"}),
        ("authority: a.b, port: 81", {"hostRedirect": "a.b", "portRedirect": 81}),
        (
            "authority: a.b, derivePort: FROM_REQUEST_PORT",
            {"hostRedirect": "a.b", "portRedirect": 8080},
        ),
        ("uri: /a, redirectCode: 303", {"pathRedirect": "/a", "responseCode": "SEE_OTHER"}),
    ],
)
def test_redirects_lead_where_istio_has_them_lead(said: str, wanted: dict[str, Any]) -> None:
    (route,) = hosts(GATEWAY, rule(f"[{{redirect: {{{said}}}}}]"))["*"]
    assert route["redirect"] == wanted


@pytest.mark.parametrize(
    "action", ["delegate: {name: a}", "redirect: {uri: /a, redirectCode: 304}"]
)
def test_what_is_not_there_is_answered_with_an_error_that_names_it(action: str) -> None:
    (route,) = hosts(GATEWAY, rule(f"[{{{action}}}]"))["*"]
    assert route["directResponse"]["status"] == 501
    assert "shop/rule" in route["directResponse"]["body"]["inlineString"]


def test_plain_requests_to_a_server_that_redirects_go_to_https() -> None:
    port = "port: {number: 8080, name: a, protocol: HTTP}"
    server = f"{{{port}, hosts: [a.com], tls: {{httpsRedirect: true}}}}"
    (routes,) = got(gateway("main", server))["routes"].values()
    (host,) = routes["virtualHosts"]
    assert (host["domains"], host["requireTls"]) == (["a.com"], "ALL")


def test_a_lane_has_a_route_before_each_that_leads_to_its_hosts() -> None:
    http = f"""[
      {{name: a, match: [{{uri: {{prefix: /a}}}}], rewrite: {{uri: /}}, {TO_PAGE}}},
      {{name: rpc, route: [{{destination: {{host: rpc, port: {{number: 80}}}}}}]}}]"""
    found = hosts(GATEWAY, LANES, rule(http))["*"]
    assert [(route["name"], route["route"]["cluster"].split("|")[2]) for route in found] == [
        ("a.lane-dev", "lane-dev"),
        ("a", "lane-baseline"),
        ("rpc", ""),
    ]
    lane, plain, _ = found
    assert lane["match"]["prefix"] == plain["match"]["prefix"] == "/a"
    assert lane["route"]["prefixRewrite"] == plain["route"]["prefixRewrite"] == "/"
    (mark,) = lane["match"]["headers"]
    assert mark["name"] == "baggage"


def test_in_a_lane_shares_of_one_host_are_one_destination() -> None:
    split = """[{route: [
      {destination: {host: page, subset: v1}, weight: 30},
      {destination: {host: page, subset: v2}, weight: 20},
      {destination: {host: rpc, port: {number: 80}}, weight: 50}]}]"""
    lane, plain = hosts(GATEWAY, LANES, rule(split))["*"]

    def shares(route: dict[str, Any]) -> dict[str, int]:
        clusters = route["route"]["weightedClusters"]["clusters"]
        return {each["name"].split("|", 2)[2]: each["weight"] for each in clusters}

    assert shares(lane) == {
        "lane-dev|page.shop.svc.cluster.local": 50,
        "|rpc.shop.svc.cluster.local": 50,
    }
    assert set(shares(plain)) == {
        "v1|page.shop.svc.cluster.local",
        "v2|page.shop.svc.cluster.local",
        "|rpc.shop.svc.cluster.local",
    }


def test_requests_are_coloured_before_they_are_routed() -> None:
    entry = LANES.replace("group: shop}", "group: shop, entry: [{uri: {prefix: /dev}}]}")
    listener = next(iter(got(GATEWAY, entry)["listeners"].values()))
    manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
    names = [each["name"] for each in manager["httpFilters"]]
    assert names[: len(SLOTS)] == list(SLOTS)
    assert names[-1] == "envoy.filters.http.router"
    assert set(got(GATEWAY, entry)["extensions"]) == set(SLOTS)


def test_a_new_lane_leaves_the_listeners_as_they_were() -> None:
    translator = Translator()
    first, second = mesh(GATEWAY), mesh(GATEWAY, LANES)
    node = places.node(places.replica(first, "gateway.edge"), Client.ENVOY)
    before, after = translator.resources(first, node), translator.resources(second, node)
    assert before[messages.LISTENER] is after[messages.LISTENER]
    former, now = before[messages.EXTENSION_CONFIG], after[messages.EXTENSION_CONFIG]
    assert former.keys() == now.keys()
    assert former != now


def test_an_edit_of_a_route_leaves_the_listeners_as_they_were() -> None:
    translator = Translator()
    first = mesh(GATEWAY, rule(f"[{{{TO_PAGE}}}]"))
    second = mesh(GATEWAY, rule(f"[{{timeout: 1s, {TO_PAGE}}}]"))
    node = places.node(places.replica(first, "gateway.edge"), Client.ENVOY)
    before, after = translator.resources(first, node), translator.resources(second, node)
    assert before[messages.LISTENER] is after[messages.LISTENER]
    assert before[messages.ROUTE] is not after[messages.ROUTE]
    assert before[messages.CLUSTER] is after[messages.CLUSTER]

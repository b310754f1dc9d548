"""What `meltemi lanes show` prints: the rules that lanes stand for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from meltemi import config
from meltemi.cli import cli
from meltemi.config import Source
from meltemi.lanes.envoy_filter import http_filters
from meltemi.model.addresses import Addresses

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: grpc, port: 9080}]}
"""
THRIFT = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: thrift, port: 9080}]}
"""
LANE = """
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev}
spec: {group: books, entry: [{headers: {uid: {exact: '100'}}, uri: {regex: '/a|/b'}}]}
"""
DEV = """
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: reviews-dev, labels: {app: reviews, lane: dev}}
spec: {command: [a], mesh: proxyless, ports: [{name: grpc, port: 9080}]}
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""
FRONT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ['*']
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /a}}]
    rewrite: {uri: /b}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews}, weight: 20}
"""
GATEWAY = f"{EDGE}---{FRONT}"
OWN = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: [reviews]
  http: [{timeout: 3s, route: [{destination: {host: reviews}}]}]
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}, {name: lane-dev, labels: {a: b}}]
"""
ROUTER = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: own}
spec:
  hosts: [reviews.default.svc.cluster.local]
  routes:
  - match: {attributes: {method: {exact: a}}}
    route: [{destination: {host: reviews.default.svc.cluster.local}}]
"""


def group(spec: str = "services: [{host: reviews}]") -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {{name: books}}
spec: {{{spec}}}
"""


def printed(folder: Path, *texts: str, options: tuple[str, ...] = ()) -> str:
    (folder / "mesh.yaml").write_text("---".join(texts))
    done = CliRunner().invoke(cli, ["lanes", "show", str(folder), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def shown(folder: Path, *texts: str) -> list[dict[str, Any]]:
    """All but the EnvoyFilter, which is the last."""
    documents = list(yaml.safe_load_all(printed(folder, *texts)))
    assert [each["kind"] for each in documents].index("EnvoyFilter") == len(documents) - 1
    return documents[:-1]


def test_what_is_shown_is_valid_and_says_what_istio_cannot(tmp_path: Path) -> None:
    text = printed(tmp_path, SERVICE, group(), LANE)
    rule, routes, _ = yaml.safe_load_all(text)
    assert "# lane dev is permissive" in text
    assert "# baseline has no labels" in text
    loaded = config.load([Source("shown.yaml", text)])
    assert loaded.valid
    assert {issue.code for issue in loaded.issues} <= {"not-there-yet"}
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == ["lane-dev", "lane-baseline"]
    assert [route["name"] for route in routes["spec"]["http"]] == ["lane-dev", "lane-baseline"]


def test_a_strict_group_with_a_labelled_baseline_needs_no_comment(tmp_path: Path) -> None:
    spec = "services: [{host: reviews}], mode: strict, baseline: {labels: {version: v1}}"
    text = printed(tmp_path, SERVICE, group(spec), LANE)
    assert not [line for line in text.splitlines() if line.startswith("#")]


def test_routes_that_are_there_are_shown_behind_those_of_lanes(tmp_path: Path) -> None:
    _, routes = shown(tmp_path, SERVICE, group(), LANE, OWN)
    assert routes["metadata"] == {"name": "own", "namespace": "default"}
    first, second = routes["spec"]["http"]
    assert first["route"][0]["destination"]["subset"] == "lane-dev"
    assert second["timeout"] == "3s"
    assert second["route"][0]["destination"]["subset"] == "lane-baseline"


def test_a_rule_of_several_hosts_is_parted(tmp_path: Path) -> None:
    both = OWN.replace("[reviews]", "[reviews, ratings]")
    _, routes, rest = shown(tmp_path, SERVICE, group(), LANE, both)
    assert routes["metadata"]["name"] == "own-reviews"
    assert routes["spec"]["hosts"] == ["reviews.default.svc.cluster.local"]
    assert rest["metadata"]["name"] == "own"
    assert rest["spec"]["hosts"] == ["ratings"]


def test_a_wildcard_that_a_host_followed_is_copied_for_it(tmp_path: Path) -> None:
    wild = OWN.replace("[reviews]", "['*.default.svc.cluster.local']")
    _, routes = shown(tmp_path, SERVICE, group(), LANE, wild)
    assert routes["metadata"]["name"] == "own-reviews"
    assert routes["spec"]["hosts"] == ["reviews.default.svc.cluster.local"]
    lane, own = routes["spec"]["http"]
    assert (lane["name"], own["timeout"]) == ("lane-dev", "3s")


def test_a_rule_for_some_namespaces_leaves_the_others_one_of_their_own(tmp_path: Path) -> None:
    private = OWN.replace("spec:", "spec:\n  exportTo: ['.']")
    _, own, routes = shown(tmp_path, SERVICE, group(), LANE, private)
    assert own["metadata"]["name"] == "own"
    assert own["spec"]["exportTo"] == ["."]
    assert routes["metadata"]["name"] == "lanes-books-reviews"


def test_a_destination_rule_that_is_there_keeps_its_policy(tmp_path: Path) -> None:
    rule, _ = shown(tmp_path, SERVICE, group(), LANE, RULE)
    assert rule["metadata"]["name"] == "own"
    assert rule["spec"]["trafficPolicy"] == {"loadBalancer": {"simple": "RANDOM"}}
    assert rule["spec"]["subsets"] == [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "lane-dev", "labels": {"lane": "dev"}},
        {"name": "lane-baseline"},
    ]
    wild = RULE.replace("host: reviews", "host: '*.default.svc.cluster.local'")
    copied, _ = shown(tmp_path, SERVICE, group(), LANE, wild)
    assert copied["metadata"]["name"] == "own-reviews"
    assert copied["spec"]["host"] == "reviews.default.svc.cluster.local"
    assert copied["spec"]["trafficPolicy"] == rule["spec"]["trafficPolicy"]


def test_a_service_that_is_no_http_has_a_meta_router(tmp_path: Path) -> None:
    _, _, router = shown(tmp_path, THRIFT, group(), LANE)
    assert (router["kind"], router["metadata"]["name"]) == ("MetaRouter", "lanes-books-reviews")
    *lanes, rest = router["spec"]["routes"]
    attributes = [next(iter(each["match"]["attributes"])) for each in lanes]
    assert attributes == ["baggage", "rpc_transit_baggage", "rpc_persist_baggage"]
    assert rest["route"][0]["destination"]["subset"] == "lane-baseline"
    _, _, router = shown(tmp_path, THRIFT, group(), LANE, ROUTER)
    assert router["metadata"]["name"] == "own"
    own = router["spec"]["routes"][3:]
    assert [each["match"]["attributes"] for each in own] == [{"method": {"exact": "a"}}]
    assert own[0]["route"][0]["destination"]["subset"] == "lane-baseline"


def test_the_rules_that_are_shown_stand_for_the_lanes(tmp_path: Path) -> None:
    """A mesh with them instead of the lanes has the same routes."""
    given = (THRIFT, OWN, RULE, ROUTER)
    text = printed(tmp_path, *given, group(), LANE)
    with_lanes = config.load([Source("lanes.yaml", "---".join((*given, group(), LANE)))])
    with_rules = config.load([Source("rules.yaml", THRIFT + "---\n" + text)])
    lanes, rules = (config.build(each.objects, Addresses())[0] for each in (with_lanes, with_rules))
    assert rules.virtual_services == lanes.virtual_services
    assert rules.meta_routers == lanes.meta_routers
    assert [rule.host for rule in rules.destination_rules] == [
        rule.host for rule in lanes.destination_rules
    ]


def test_a_route_of_a_gateway_leads_into_the_lane_too(tmp_path: Path) -> None:
    *_, routes = shown(tmp_path, SERVICE, DEV, group(), LANE, GATEWAY)
    assert routes["metadata"]["name"] == "front"
    assert routes["spec"]["gateways"] == ["edge"]
    lane, base = routes["spec"]["http"]
    assert lane["match"][0]["uri"] == base["match"][0]["uri"] == {"prefix": "/a"}
    assert set(lane["match"][0]["headers"]) == {"baggage"}
    assert lane["rewrite"] == {"uri": "/b"}
    assert lane["route"] == [
        {"destination": {"host": "reviews", "subset": "lane-dev"}, "weight": 100}
    ]
    assert [to["destination"]["subset"] for to in base["route"]] == ["v1", "lane-baseline"]


def test_the_routes_of_a_gateway_that_are_shown_stand_for_the_lanes(tmp_path: Path) -> None:
    given = (SERVICE, DEV, GATEWAY)
    text = printed(tmp_path, *given, group(), LANE)
    loaded = [
        config.load([Source("mesh.yaml", "---".join((*given, group(), LANE)))]),
        config.load([Source("mesh.yaml", "---".join((SERVICE, DEV, EDGE)) + "---\n" + text)]),
    ]
    lanes, rules = (config.build(each.objects, Addresses())[0].gateway_services for each in loaded)
    assert [len(rule.routes) for rule in rules] == [2]
    assert [[replace(route, lane="") for route in rule.routes] for rule in rules] == [
        [replace(route, lane="") for route in rule.routes] for rule in lanes
    ]


def test_the_envoy_filter_colours_in_istios_gateway(tmp_path: Path) -> None:
    *_, made = yaml.safe_load_all(printed(tmp_path, SERVICE, group(), LANE))
    assert made["apiVersion"] == "networking.istio.io/v1alpha3"
    assert made["metadata"] == {"name": "lanes-colouring", "namespace": "istio-system"}
    assert made["spec"]["workloadSelector"] == {"labels": {"istio": "ingressgateway"}}
    loaded = config.load([Source("mesh.yaml", "---".join((SERVICE, group(), LANE)))])
    groups = config.build(loaded.objects, Addresses())[0].lane_groups
    patches = made["spec"]["configPatches"]
    assert [each["patch"]["value"] for each in patches] == json.loads(
        json.dumps(http_filters(groups))
    )
    assert {each["patch"]["operation"] for each in patches} == {"INSERT_BEFORE"}
    assert {each["applyTo"] for each in patches} == {"HTTP_FILTER"}


def test_another_gateway_is_chosen_by_options(tmp_path: Path) -> None:
    options = ("--gateway-namespace", "edge", "--gateway-label", "app=a", "--gateway-label", "b=c")
    text = printed(tmp_path, SERVICE, group(), LANE, options=options)
    *_, made = yaml.safe_load_all(text)
    assert made["metadata"]["namespace"] == "edge"
    assert made["spec"]["workloadSelector"] == {"labels": {"app": "a", "b": "c"}}
    wrong = CliRunner().invoke(cli, ["lanes", "show", str(tmp_path), "--gateway-label", "a"])
    assert wrong.exit_code == 2
    assert "want KEY=VALUE" in wrong.output


def test_without_lanes_nothing_is_shown(tmp_path: Path) -> None:
    assert printed(tmp_path, SERVICE) == ""


def test_an_invalid_document_ends_with_1_and_its_place(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(group("services: []"))
    done = CliRunner().invoke(cli, ["lanes", "show", str(tmp_path)])
    assert done.exit_code == 1
    assert "no service" in done.stderr


def test_a_lane_is_shown_for_the_callers_whose_marks_count(tmp_path: Path) -> None:
    selectors = "[{namespace: shop}, {labels: {app: page}}]"
    spec = f"services: [{{host: reviews}}], marksFrom: {selectors}"
    _, routes = shown(tmp_path, SERVICE, group(spec), LANE)
    first, last = routes["spec"]["http"]
    mark = first["match"][0]["headers"]
    assert first["match"] == [
        {"headers": mark, "sourceNamespace": "shop"},
        {"headers": mark, "sourceLabels": {"app": "page"}},
    ]
    assert "match" not in last

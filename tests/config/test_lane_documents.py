"""`LaneGroup` and `Lane`: what they say, and what is said of them."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi.config import build
from meltemi.model import (
    Lane,
    LaneEntry,
    LaneGroup,
    LaneService,
    Mesh,
    Share,
    StringMatch,
    WorkloadSelector,
)
from meltemi.model.addresses import Addresses

HOST = "reviews.shop.svc.cluster.local"


def group(spec: str = "services: [{host: reviews}]") -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {{name: books, namespace: shop}}
spec: {{{spec}}}
"""


def lane(spec: str = "group: books", name: str = "dev") -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {{name: {name}, namespace: shop}}
spec: {{{spec}}}
"""


def entry(conditions: str) -> str:
    return lane(f"group: books, entry: [{{{conditions}}}]")


def edge(spec: str) -> str:
    return group(f"services: [{{host: reviews}}], {spec}")


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: grpc, port: 9080}]}
"""


def mesh(load: Load, *texts: str) -> Mesh:
    loaded = load("---".join(texts))
    assert loaded.valid, loaded.issues
    built, _ = build(loaded.objects, Addresses("127.9", {}))
    return built


def test_everything_that_is_said_is_in_the_model(load: Load) -> None:
    text = group(
        "services: [{host: reviews, mode: strict, fallback: []}], baggageKey: env, mode: strict,"
        "baseline: {labels: {version: v1}}, fallback: [blue],"
        "edge: {trustedSources: [10.1.0.0/16, '::1']},"
        "marksFrom: [{namespace: shop, labels: {app: page}}, {labels: {app: web}}]"
    )
    entry = (
        "{headers: {UID: {exact: '1'}, any: {}}, cookies: {Beta: {prefix: b}},"
        " queryParams: {q: {regex: a+}}, uri: {prefix: /a}, method: {exact: GET},"
        " sourceAddresses: [10.0.0.0/8], percentage: {value: 5, by: {header: X-User}}}"
    )
    made = lane(
        f"group: books, labels: {{env: test}}, enabled: false, priority: 7, mode: permissive,"
        f"entry: [{entry}]"
    )
    (found,) = mesh(load, text, made).lane_groups
    assert found == LaneGroup(
        "shop",
        "books",
        (LaneService(HOST, "strict", ()),),
        "env",
        (
            Lane(
                "dev",
                (("env", "test"),),
                enabled=False,
                priority=7,
                mode="permissive",
                entries=(
                    LaneEntry(
                        headers=(
                            ("any", StringMatch("present")),
                            ("uid", StringMatch("exact", "1")),
                        ),
                        cookies=(("Beta", StringMatch("prefix", "b")),),
                        query_params=(("q", StringMatch("regex", "a+")),),
                        uri=StringMatch("prefix", "/a"),
                        method=StringMatch("exact", "GET"),
                        source_addresses=("10.0.0.0/8",),
                        share=Share(5, "header", "x-user"),
                    ),
                ),
            ),
        ),
        baseline=(("version", "v1"),),
        mode="strict",
        fallback=("blue",),
        trusted_sources=("10.1.0.0/16", "::1/128"),
        marks_from=(
            WorkloadSelector("shop", (("app", "page"),)),
            WorkloadSelector(None, (("app", "web"),)),
        ),
    )


def test_a_lane_without_labels_has_those_of_its_mark(load: Load) -> None:
    (found,) = mesh(load, group(), lane()).lane_groups
    assert found.baggage_key == "lane"
    assert found.lanes == (Lane("dev", (("lane", "dev"),)),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (group("mode: strict"), "error missing-field spec.services"),
        (group("services: []"), "error missing-field spec.services"),
        (group("services: [{host: '*.shop'}]"), "error invalid-host spec.services[0].host"),
        (
            group("services: [{host: reviews}, {host: reviews.shop.svc.cluster.local}]"),
            "error duplicate-value spec.services[1].host",
        ),
        (
            group("services: [{host: a}], baggageKey: 'a b'"),
            "error bad-value spec.baggageKey",
        ),
        (
            group("services: [{host: a}], fallback: [b, baseline]"),
            "error bad-value spec.fallback[1]",
        ),
        (
            group("services: [{host: a, fallback: [b, b]}]"),
            "error duplicate-value spec.services[0].fallback[1]",
        ),
        (group("services: [{host: a}], mode: lax"), "error bad-value spec.mode"),
        (lane("labels: {a: b}"), "error missing-field spec.group"),
        (lane("group: books, labels: {}"), "error missing-field spec.labels"),
        (lane("group: books, labels: {'a b': c}"), "error invalid-label"),
        (lane(name="baseline"), "error"),
        (lane(name="a" * 59), "error"),
        (lane(name="a.b"), "error"),
        (
            lane("group: books, entry: [{headers: {a: {exact: b, prefix: c}}}]"),
            "error one-of spec.entry[0].headers.a",
        ),
        (lane("group: books, entry: [{uri: {regex: '('}}]"), "error"),
        (
            lane("group: books, entry: [{sourceAddresses: [nowhere]}]"),
            "error invalid-address spec.entry[0].sourceAddresses[0]",
        ),
        (
            lane("group: books, entry: [{percentage: {value: 101}}]"),
            "error",
        ),
        (
            lane("group: books, entry: [{percentage: {value: 1, by: {header: a, cookie: b}}}]"),
            "error one-of spec.entry[0].percentage.by",
        ),
        (lane("group: books, entries: []"), "error unknown-field spec.entries"),
        (entry(""), "error missing-field spec.entry[0]"),
        (entry("headers: {}, uri: {}"), "error missing-field spec.entry[0]"),
        (
            entry("uri: {prefix: /}, sourceAddresses: []"),
            "error missing-field spec.entry[0].source",
        ),
        (entry("sourceAddresses: [10.0.0.1/8]"), "error invalid-address spec.entry[0].source"),
        (entry("sourceAddresses: ['fe80::1%eth0']"), "error invalid-address spec.entry[0].source"),
        (entry("sourceAddresses: ['::ffff:1.2.3.4']"), "error invalid-address spec.entry[0].sou"),
        (entry("sourceAddresses: [10.0.0.0/255.0.0.0]"), "error invalid-address spec.entry[0].s"),
        (entry("headers: {UID: {}, uid: {exact: a}}"), "error duplicate-value spec.entry[0].head"),
        (entry("headers: {'a b': {}}"), "error bad-value spec.entry[0].headers"),
        (entry("headers: {':path': {}}"), "error bad-value spec.entry[0].headers"),
        (entry("headers: {uid: {exact: ''}}"), "error bad-value spec.entry[0].headers.uid.exact"),
        (entry("cookies: {'a=b': {}}"), "error bad-value spec.entry[0].cookies"),
        (entry("cookies: {'': {}}"), "error missing-field spec.entry[0].cookies"),
        (entry("queryParams: {'a&b': {}}"), "error bad-value spec.entry[0].queryParams"),
        (entry("percentage: {value: 5, by: {}}"), "error missing-field spec.entry[0].perc"),
        (entry("percentage: {value: 5, by: {cookie: ''}}"), "error missing-field spec.entry[0].p"),
        (entry("percentage: {value: 5, by: {header: 'a b'}}"), "error bad-value spec.entry[0].p"),
        (edge("edge: {trustedSources: [10.0.0.0/33]}"), "error invalid-address spec.edge.trus"),
        (edge("edge: {trustedSources: ['*']}"), "error invalid-address spec.edge.trustedSourc"),
        (edge("edge: {trusted: []}"), "error unknown-field spec.edge.trusted"),
        (edge("marksFrom: []"), "error missing-field spec.marksFrom"),
        (edge("marksFrom: [{}]"), "error missing-field spec.marksFrom[0]"),
        (edge("marksFrom: [{labels: {}}]"), "error missing-field spec.marksFrom[0]"),
        (edge("marksFrom: [{namespace: A}]"), "error bad-value spec.marksFrom[0].namespace"),
        (edge("marksFrom: [{labels: {'a b': c}}]"), "error invalid-label spec.marksFrom[0].lab"),
    ],
)
def test_what_cannot_be_is_said_at_its_place(
    load: Load, said: Said, text: str, wanted: str
) -> None:
    errors = [each for each in said(load(text)) if each.startswith("error")]
    assert len(errors) == 1, errors
    assert errors[0].startswith(wanted), errors


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ("headers: {a_b: {}}", "warning no-effect spec.entry[0].headers.a_b"),
        ("uri: {prefix: api}", "warning no-effect spec.entry[0].uri.prefix"),
        ("uri: {exact: '/a?b=c'}", "warning no-effect spec.entry[0].uri.exact"),
        ("method: {exact: get}", "warning no-effect spec.entry[0].method.exact"),
    ],
)
def test_a_condition_that_never_holds_is_warned_of(
    load: Load, said: Said, conditions: str, wanted: str
) -> None:
    loaded = load(entry(conditions))
    assert loaded.valid
    (warning,) = said(loaded)
    assert warning.startswith(wanted)


def test_an_entry_is_there(load: Load, said: Said) -> None:
    assert said(load(entry("headers: {uid: {exact: '100'}}"))) == []


def subsets(built: Mesh) -> dict[str, set[str]]:
    return {
        f"{rule.namespace}/{rule.host}": {subset.name for subset in rule.subsets}
        for rule in built.destination_rules
    }


def test_own_routes_of_a_host_stay_behind_those_of_its_lanes(load: Load) -> None:
    own = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own, namespace: shop}
spec:
  hosts: [reviews, ratings]
  http: [{timeout: 3s, route: [{destination: {host: reviews}}]}]
"""
    built = mesh(load, SERVICE, group(), lane(), own)
    by_host = {rule.hosts: rule for rule in built.virtual_services}
    assert set(by_host) == {(HOST,), ("ratings.shop.svc.cluster.local",)}
    first, second = by_host[HOST,].routes
    assert [to.destination.subset for to in first.destinations] == ["lane-dev"]
    assert second.timeout_s == 3
    assert [to.destination.subset for to in second.destinations] == ["lane-baseline"]
    (other,) = by_host["ratings.shop.svc.cluster.local",].routes
    assert [to.destination.subset for to in other.destinations] == [""]


def test_rules_of_a_wildcard_hold_for_the_host_too(load: Load) -> None:
    wild = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all, namespace: shop}
spec:
  host: "*.shop.svc.cluster.local"
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}]
"""
    built = mesh(load, SERVICE, group(), lane(), wild)
    assert subsets(built)[f"shop/{HOST}"] == {"v1", "lane-dev", "lane-baseline"}
    assert subsets(built)["shop/*.shop.svc.cluster.local"] == {"v1"}
    (exact,) = (rule for rule in built.destination_rules if rule.host == HOST)
    assert exact.policy.load_balancer is not None


def test_a_host_of_no_group_has_the_rules_that_it_had(load: Load) -> None:
    built = mesh(load, SERVICE, group("services: [{host: ratings}]"), lane())
    assert not (built.destination_rules or built.virtual_services or built.meta_routers)


def test_a_lane_that_is_off_has_no_route_and_its_instances_are_no_baseline(load: Load) -> None:
    built = mesh(load, SERVICE, group(), lane("group: books, enabled: false"))
    (rule,) = built.virtual_services
    assert [route.name for route in rule.routes] == ["lane-baseline"]
    (of_host,) = built.destination_rules
    (baseline,) = (subset for subset in of_host.subsets if subset.name == "lane-baseline")
    assert baseline.tiers[0].without == ((("lane", "dev"),),)

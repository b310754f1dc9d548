# ruff: noqa: E501 - one case a line
"""What a VirtualService says, and what is said of it."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi.config import build, references
from meltemi.model import (
    Destination,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Mesh,
    Retries,
    StringMatch,
    VirtualService,
)
from meltemi.model.addresses import Addresses

HOST = "reviews.shop.svc.cluster.local"


def rule(http: str, more: str = "", hosts: str = "[reviews]", name: str = "a") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: {hosts}
  http: {http}
  {more}
"""


def mesh(load: Load, text: str) -> Mesh:
    loaded = load(text)
    assert loaded.valid, loaded.issues
    built, _ = build(loaded.objects, Addresses("127.9", {}))
    return built


def test_everything_that_has_an_effect_is_in_the_model(load: Load) -> None:
    (made,) = mesh(
        load,
        rule(
            """
            - name: canary
              match:
                - name: dev
                  uri: {exact: /a.B/C}
                  ignoreUriCase: true
                  method: {prefix: P}
                  headers: {Lane: {exact: dev}, user: {}, any: {regex: "*"}}
                  withoutHeaders: {x: {regex: "a|b"}}
                  port: 9080
                  sourceLabels: {app: front}
                  sourceNamespace: web
                - queryParams: {a: {exact: b}}
              timeout: 1.5s
              retries: {attempts: 3, perTryTimeout: 200ms, retryOn: "unavailable, 503", backoff: 10ms}
              headers: {request: {set: {X-A: "1"}, remove: [X-B]}, response: {add: {c: "2"}}}
              route:
                - {destination: {host: reviews, subset: v2, port: {number: 80}}, weight: 30}
                - {destination: {host: other.web.svc.cluster.local}, weight: 70, headers: {request: {add: {d: e}}}}
            - route: [{destination: {host: reviews}}]""",
            more="exportTo: ['.']",
            hosts="[reviews, ratings.web.svc.cluster.local]",
        ),
    ).virtual_services
    first, last = made.routes
    assert made.hosts == (HOST, "ratings.web.svc.cluster.local")
    assert made.export_to == (".",)
    assert first == HttpRoute(
        name="canary",
        matches=(
            HttpMatch(
                "dev",
                StringMatch("exact", "/a.B/C"),
                ignore_uri_case=True,
                method=StringMatch("prefix", "P"),
                headers=(
                    ("any", StringMatch("present")),
                    ("lane", StringMatch("exact", "dev")),
                    ("user", StringMatch("present")),
                ),
                without_headers=(("x", StringMatch("regex", "a|b")),),
                port=9080,
                source_labels=(("app", "front"),),
                source_namespace="web",
            ),
            HttpMatch(unsupported=("queryParams",)),
        ),
        destinations=(
            HttpDestination(Destination(HOST, "v2", 80), 30),
            HttpDestination(
                Destination("other.web.svc.cluster.local"), 70, HeaderChanges(add=(("d", "e"),))
            ),
        ),
        timeout_s=1.5,
        retries=Retries(3, ("unavailable", "503"), 0.2, 0.01),
        request=HeaderChanges(set=(("x-a", "1"),), remove=("x-b",)),
        response=HeaderChanges(add=(("c", "2"),)),
    )
    assert last == HttpRoute(destinations=(HttpDestination(Destination(HOST), 100),))


TO = "route: [{destination: {host: reviews}}]"

NOT_THERE = {
    "spec.http[0].fault": f"[{{{TO}, fault: {{abort: {{httpStatus: 503}}}}}}]",
    "spec.http[0].mirror": f"[{{{TO}, mirror: {{host: reviews}}}}]",
    "spec.http[0].mirrors": f"[{{{TO}, mirrors: [{{destination: {{host: reviews}}}}]}}]",
    "spec.http[0].rewrite": f"[{{{TO}, rewrite: {{uri: /b}}}}]",
    "spec.http[0].corsPolicy": f"[{{{TO}, corsPolicy: {{maxAge: 1s}}}}]",
    "spec.http[0].redirect": "[{redirect: {uri: /b}}]",
    "spec.http[0].directResponse": "[{directResponse: {status: 503}}]",
    "spec.http[0].delegate": "[{delegate: {name: b}}]",
    "spec.http[0].match[0].queryParams": f"[{{match: [{{queryParams: {{a: {{exact: b}}}}}}], {TO}}}]",
    "spec.http[0].match[0].authority": f"[{{match: [{{authority: {{exact: b}}}}], {TO}}}]",
    "spec.http[0].match[0].scheme": f"[{{match: [{{scheme: {{exact: http}}}}], {TO}}}]",
    "spec.http[0].retries.retryRemoteLocalities": f"[{{{TO}, retries: {{attempts: 1, retryRemoteLocalities: true}}}}]",
}


@pytest.mark.parametrize("path", NOT_THERE)
def test_what_is_not_there_yet_is_named(load: Load, said: Said, path: str) -> None:
    assert said(load(rule(NOT_THERE[path]))) == [f"warning not-there-yet {path}"]


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_routes_of_bytes_are_named(load: Load, said: Said, kind: str) -> None:
    match = "match: [{sniHosts: [reviews]}], " if kind == "tls" else ""
    found = load(rule(f"[{{{TO}}}]", f"{kind}: [{{{match}{TO}}}]"))
    assert said(found) == [f"warning not-there-yet spec.{kind}"]


def test_a_rule_of_gateways_only_has_no_effect_in_the_mesh(load: Load, said: Said) -> None:
    text = rule(f"[{{{TO}}}]", "gateways: [edge]")
    assert mesh(load, text).virtual_services == ()
    (made,) = mesh(load, text).gateway_services
    assert made.gateways == (f"{made.namespace}/edge",)
    assert said(load(text)) == []


def test_of_a_rule_for_gateways_and_the_mesh_the_routes_of_the_mesh_hold(load: Load) -> None:
    http = f"[{{name: a, match: [{{gateways: [edge]}}], {TO}}}, {{name: b, match: [{{gateways: [mesh]}}], {TO}}}]"
    (made,) = mesh(load, rule(http, "gateways: [edge, mesh]")).virtual_services
    assert [route.name for route in made.routes] == ["b"]


INVALID = f"""
one-of|[{{{TO}, match: [{{uri: {{exact: a, prefix: b}}}}]}}]
one-of|[{{{TO}, redirect: {{uri: /a}}}}]
bad-regex|[{{{TO}, match: [{{headers: {{a: {{regex: "("}}}}}}]}}]
bad-value|[{{{TO}, match: [{{headers: {{a: {{prefix: ""}}}}}}]}}]
bad-value|[{{{TO}, match: [{{port: 70000}}]}}]
bad-value|[{{{TO}, retries: {{attempts: 2, retryOn: sometimes}}}}]
bad-duration|[{{{TO}, timeout: 1us}}]
bad-weights|[{{route: [{{destination: {{host: a}}, weight: -1}}]}}]
bad-weights|[{{route: [{{destination: {{host: a}}}}, {{destination: {{host: b}}}}]}}]
invalid-host|[{{route: [{{destination: {{host: "*"}}}}]}}]
unknown-field|[{{{TO}, mtach: []}}]
""".strip().splitlines()


@pytest.mark.parametrize("case", INVALID)
def test_what_istio_refuses_is_an_error(load: Load, case: str) -> None:
    code, _, http = case.partition("|")
    found = load(rule(http))
    assert not found.valid
    assert code in [issue.code for issue in found.issues]


def test_a_route_behind_one_that_takes_everything_is_warned_of(load: Load, said: Said) -> None:
    narrow = "{match: [{uri: {exact: /a.B/C}}], " + TO + "}"
    wide = "{match: [{uri: {prefix: /a.B/}}], " + TO + "}"
    assert said(load(rule(f"[{narrow}, {wide}, {{{TO}}}]"))) == []
    assert said(load(rule(f"[{wide}, {narrow}]"))) == [
        "warning unreachable-route spec.http[1].match[0]"
    ]
    assert said(load(rule(f"[{{{TO}}}, {narrow}]"))) == ["warning unreachable-route spec.http[1]"]


def test_two_rules_for_a_host_are_named_and_the_first_wins(load: Load) -> None:
    found = load(rule(f"[{{{TO}}}]") + "---" + rule(f"[{{{TO}}}]", name="b"))
    (issue,) = found.issues
    assert (issue.code, issue.path) == ("host-taken", "spec.hosts[0]")
    assert "VirtualService shop/a (a.yaml:2)" in issue.message
    assert issue.line > 6


def test_a_meta_router_of_the_host_is_named_together_with_the_rule(load: Load) -> None:
    router = f"""
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: r, namespace: web}}
spec: {{hosts: [{HOST}], routes: [{{name: a, route: [{{destination: {{host: {HOST}}}}}]}}]}}
"""
    (issue,) = load(rule(f"[{{{TO}}}]") + "---" + router).issues
    assert issue.severity == "warning"
    assert "MetaRouter web/r" in issue.message
    assert "VirtualService shop/a" in issue.message


def test_hosts_and_subsets_that_nobody_has_are_named(load: Load, said: Said) -> None:
    loaded = load(rule("[{route: [{destination: {host: nobody, subset: v1}}]}]"))
    assert said(references.check(loaded.objects, Mesh())) == [
        "warning unknown-host spec.hosts[0]",
        "warning unknown-host spec.http[0].route[0].destination.host",
    ]


def test_an_edit_of_one_rule_leaves_the_others_the_same_values(load: Load) -> None:
    first = mesh(load, rule(f"[{{{TO}}}]")).virtual_services
    again = mesh(load, rule(f"[{{{TO}}}]")).virtual_services
    assert first == again
    assert isinstance(first[0], VirtualService)

"""Where calls of clients without a sidecar go, by the engine that decides them."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from meltemi import config
from meltemi.analysis.explain import Question, explain, lines
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

MESH = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: {app: a}
  ports: [{name: grpc-a, port: 9080}, {name: tcp-thrift, port: 9090}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: a-v1, labels: {app: a, version: v1}}
spec: {command: [x], ports: [{name: grpc-a, port: 9080}, {name: tcp-thrift, port: 9090}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: direct, labels: {app: direct}}
spec: {command: [x], mesh: proxyless}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: beside, labels: {app: beside}}
spec: {command: [x]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rule}
spec:
  hosts: [a]
  http:
  - name: lane
    match: [{headers: {baggage: {exact: env=dev}}}]
    route: [{destination: {host: a, subset: v2}}]
  - name: own
    match: [{sourceLabels: {app: direct}, uri: {exact: /p.S/Own}}]
    timeout: 3s
    retries: {attempts: 1, retryOn: unavailable}
    headers: {request: {set: {x: "1"}, remove: [z]}}
    route: [{destination: {host: a, subset: v1}}]
  - name: gone
    match: [{uri: {exact: /p.S/Gone}}]
    redirect: {uri: /other}
  - name: rest
    match: [{uri: {prefix: /p.S/}}]
    route: [{destination: {host: a}}]
"""


def mesh(more: str = "") -> Mesh:
    loaded = config.load([config.Source("mesh.yaml", MESH + dedent(more))])
    return config.build(loaded.objects, Addresses())[0]


def asked(service: str = "a", more: str = "", **question: Any) -> dict[str, Any]:
    return explain(mesh(more), Question(service, **question))


@pytest.mark.parametrize(
    ("caller", "path", "attributes", "route"),
    [
        ("direct", "/p.S/Own", {}, "own"),
        ("", "/p.S/Own", {}, "rest"),
        ("beside", "/p.S/Own", {}, "rest"),
        ("direct", "/p.S/Own", {"baggage": "env=dev"}, "lane"),
        ("direct", "/p.S/Own", {"baggage": "env=dev,a=b"}, "own"),
        ("", "/q.S/Any", {}, None),
    ],
)
def test_the_route_is_that_of_the_caller_and_its_call(
    caller: str, path: str, attributes: dict[str, str], route: str | None
) -> None:
    answer = asked(caller=caller, path=path, attributes=attributes)
    assert answer["client"] == "sdk"
    assert (answer["rule_kind"], answer["rule"]) == ("VirtualService", "default/rule")
    assert answer["route"] == route
    none = "no route of VirtualService default/rule matches"
    assert answer["problem"] == (None if route else none)


def test_what_the_route_does_to_a_call_is_said() -> None:
    answer = asked(caller="direct", path="/p.S/Own")
    assert answer["timeout_s"] == 3
    assert answer["retry"]["num_retries"] == 1
    assert sorted(answer["request_mutation"], key=lambda each: str(each["key"])) == [
        {"key": "x", "value": "1"},
        {"key": "z", "remove": True},
    ]
    (cluster,) = answer["clusters"]
    assert [each["workload"] for each in cluster["endpoints"]] == ["a-v1.default"]
    shown = "\n".join(lines(answer))
    assert "takes route own" in shown
    assert "timeout 3 s" in shown
    assert "1 retries on unavailable" in shown


def test_a_route_that_cannot_be_followed_is_an_error_to_the_caller() -> None:
    answer = asked(path="/p.S/Gone")
    assert answer["route"] == "gone"
    assert "redirect is not there yet" in answer["problem"]


def test_a_caller_with_a_sidecar_has_no_rule_of_a_virtual_service() -> None:
    answer = asked(caller="beside")
    assert (answer["client"], answer["rule"], answer["rule_kind"]) == ("sidecar", None, "")


def test_a_meta_router_decides_for_its_protocol_without_a_sidecar_too() -> None:
    more = """
        ---
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: MetaRouter
        metadata: {name: r}
        spec:
          hosts: [a.default.svc.cluster.local]
          routes:
          - name: by-method
            match: {attributes: {method: {exact: sayHello}}}
            route: [{destination: {host: a.default.svc.cluster.local, subset: v1}}]
        """
    answer = asked(more=more, caller="direct", port=9090, attributes={"method": "sayHello"})
    assert (answer["rule_kind"], answer["rule"]) == ("MetaRouter", "default/r")
    assert answer["route"] == "by-method"
    other = asked(more=more, caller="direct", port=9080, path="/p.S/Own")
    assert (other["rule_kind"], other["route"]) == ("VirtualService", "own")

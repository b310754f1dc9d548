"""Lanes that are valid one by one and wrong together."""

from __future__ import annotations

from meltemi.analysis.analyze import analyze
from meltemi.config import Source

ENTRY = "entry: [{headers: {uid: {exact: '100'}}}]"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: grpc, port: 9080}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: reviews-dev, labels: {app: reviews, lane: dev}}
spec: {command: [a], mesh: proxyless, ports: [{name: grpc, port: 9080}]}
"""


def group(spec: str = "services: [{host: reviews}]", name: str = "books") -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {{name: {name}}}
spec: {{{spec}}}
"""


def lane(more: str = ENTRY, name: str = "dev") -> str:
    return f"""
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {{name: {name}}}
spec: {{group: books, {more}}}
"""


def said(*texts: str) -> list[str]:
    issues, _ = analyze([Source("mesh.yaml", "---".join(texts))])
    return [f"{i.code} {i.path}" for i in issues if i.code != "not-there-yet"]


def test_a_group_whose_lanes_are_entered_and_served_is_fine() -> None:
    assert said(SERVICE, group(), lane()) == []


def test_a_lane_that_no_request_can_enter_is_found() -> None:
    assert said(SERVICE, group(), lane("")) == ["lane-without-entry spec"]
    none = "entry: [{percentage: {value: 0}}]"
    assert said(SERVICE, group(), lane(none)) == ["lane-without-entry spec.entry"]
    assert said(SERVICE, group(), lane("enabled: false")) == []


def test_two_lanes_that_claim_a_request_are_found() -> None:
    def both(more: str) -> list[str]:
        return said(SERVICE, group(), lane(), lane(f"labels: {{lane: dev}}, {more}", "other"))

    conflict = ["lanes-conflict spec.entry[0]"]
    assert both(ENTRY) == conflict
    narrower = "entry: [{headers: {uid: {exact: '100'}, a: {}}, percentage: {value: 5}}]"
    assert both(narrower) == conflict
    assert both(f"{ENTRY}, priority: 1") == []
    assert both("entry: [{headers: {uid: {exact: '101'}}}]") == []


def test_a_lane_that_nobody_serves_is_found() -> None:
    assert said(SERVICE, group(), lane(f"labels: {{lane: x}}, {ENTRY}")) == [
        "lane-without-instances spec.labels"
    ]


def test_names_that_nobody_has_are_found() -> None:
    wrong = "services: [{host: reviews}, {host: nobody, fallback: [c]}], fallback: [b]"
    assert said(SERVICE, group(wrong), lane()) == [
        "unknown-host spec.services[1].host",
        "unknown-lane spec.services[1].fallback[0]",
        "unknown-lane spec.fallback[0]",
    ]
    assert said(SERVICE, lane()) == ["unknown-group spec.group"]


def test_a_service_of_two_groups_is_found() -> None:
    assert said(SERVICE, group(), group(name="later"), lane()) == [
        "host-taken spec.services[0].host"
    ]

"""Lanes that are valid one by one and wrong together, and the rules that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from meltemi import config
from meltemi.analysis.analyze import analyze
from meltemi.cli import cli
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
OWN = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: [reviews]
  http: [{timeout: 3s, route: [{destination: {host: reviews}}]}]
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


def shown(tmp_path: Path, *texts: str) -> tuple[str, list[dict[str, Any]]]:
    (tmp_path / "mesh.yaml").write_text("---".join(texts))
    done = CliRunner().invoke(cli, ["lanes", "show", str(tmp_path)])
    assert done.exit_code == 0, done.output
    return done.stdout, list(yaml.safe_load_all(done.stdout))


def test_what_is_shown_is_valid_and_says_what_istio_cannot(tmp_path: Path) -> None:
    text, (rule, routes) = shown(tmp_path, SERVICE, group(), lane())
    assert "# lane dev is permissive" in text
    assert "# baseline has no labels" in text
    loaded = config.load([Source("shown.yaml", text)])
    assert (loaded.valid, loaded.issues) == (True, ())
    assert [subset["name"] for subset in rule["spec"]["subsets"]] == ["lane-dev", "lane-baseline"]
    assert [route["name"] for route in routes["spec"]["http"]] == ["lane-dev", "lane-baseline"]


def test_a_strict_group_with_a_labelled_baseline_needs_no_comment(tmp_path: Path) -> None:
    spec = "services: [{host: reviews}], mode: strict, baseline: {labels: {version: v1}}"
    text, _ = shown(tmp_path, SERVICE, group(spec), lane())
    assert "#" not in text


def test_routes_that_are_there_are_shown_behind_those_of_lanes(tmp_path: Path) -> None:
    _, (_, routes) = shown(tmp_path, SERVICE, group(), lane(), OWN)
    assert routes["metadata"] == {"name": "own", "namespace": "default"}
    first, second = routes["spec"]["http"]
    assert first["route"][0]["destination"]["subset"] == "lane-dev"
    assert second["timeout"] == "3s"
    assert second["route"][0]["destination"]["subset"] == "lane-baseline"


def test_a_rule_of_several_hosts_is_parted(tmp_path: Path) -> None:
    both = OWN.replace("[reviews]", "[reviews, ratings]")
    _, (_, routes, rest) = shown(tmp_path, SERVICE, group(), lane(), both)
    assert routes["metadata"]["name"] == "own-reviews"
    assert routes["spec"]["hosts"] == ["reviews.default.svc.cluster.local"]
    assert rest["metadata"]["name"] == "own"
    assert rest["spec"]["hosts"] == ["ratings"]


def test_an_invalid_document_ends_with_1_and_its_place(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(group("services: []"))
    done = CliRunner().invoke(cli, ["lanes", "show", str(tmp_path)])
    assert done.exit_code == 1
    assert "no service" in done.stderr

"""Documents that are valid one by one and wrong together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from meltemi.analysis.analyze import analyze
from meltemi.config import Issue, Source

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "analyzers"

OURS = frozenset(
    (
        "012-gatewayCustomIngressGatewayBadPort",
        "014-gatewayCustomIngressGatewayTranslation",
        "036-virtualServiceConflictingMeshGatewayHostsWithExportTo",
        "038-virtualServiceDestinationRules",
        "062-dupmatches",
        "064-host defined in virtualservice not found in the gateway(beta version)",
        "066-host defined in virtualservice not found in the gateway with ns(beta version)",
        "096-ServiceEntry no conflict same protocol",
        "100-DestinationRuleSubsetsNotSelectPods",
        "102-DestinationRuleEmptyTopologyLabels",
    )
)
"""Of Istio's cases those about kinds and behaviour that we have: no gateways of Kubernetes' API,
webhooks, authorization, certificates, annotations of Pods, or addresses that have to be written
down."""


def found(text: str) -> list[Issue]:
    issues, _ = analyze([Source("mesh.yaml", dedent(text))])
    return issues


def said(text: str) -> list[str]:
    return [f"{each.severity} {each.code} {each.path}" for each in found(text)]


def cases() -> list[dict[str, Any]]:
    if not SHARED.is_dir():
        return []
    known: list[dict[str, Any]] = json.loads((SHARED / "index.json").read_text())["cases"]
    return [case for case in known if case["id"] in OURS]


def origin(issue: Issue, text: str) -> str:
    """`KIND NAMESPACE/NAME` of the document that the issue is in, as the case wrote it."""
    starts = [
        node
        for node in yaml.compose_all(text, yaml.SafeLoader)
        if node is not None and node.start_mark.line < issue.line
    ]
    written = yaml.safe_load(text[starts[-1].start_mark.index : starts[-1].end_mark.index])
    metadata = written["metadata"]
    namespace = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{written['kind']} {namespace}{metadata['name']}"


@pytest.mark.skipif(not cases(), reason="../shared/cases is not there")
@pytest.mark.parametrize("name", sorted(OURS))
def test_istios_own_cases_find_what_istio_finds(name: str) -> None:
    (case,) = [case for case in cases() if case["id"] == name]
    seen: Counter[tuple[str, str]] = Counter()
    for file in case["inputs"]:
        text = (SHARED / file).read_text()
        if name.startswith("064"):  # two ports of one name: neither Istio nor we take them
            port = "port:\n      name: http\n      number: 80\n      protocol: HTTP\n  - hosts"
            text = text.replace(port, port.replace("http\n", "first\n"))
        if name.startswith("038"):  # without hosts neither Istio nor we take them
            text = text.replace("spec:\n  http:", "spec:\n  hosts: [reviews]\n  http:")
        for issue in analyze([Source(file, text)])[0]:
            at = origin(issue, text)
            # An analyzer of VirtualServices does not look for the Pods of the case's Gateways.
            others = case["analyzer_name"].startswith("virtualservice.") and "Gateway " in at
            if issue.code in case["codes_in_scope"] and not others:
                seen[issue.code, at] += 1
    assert seen == Counter((each["code"], each["origin"]) for each in case["expected"])


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: {app: a}
  ports: [{name: tcp-thrift, port: 9090}, {name: grpc-a, port: 9080}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: a, labels: {app: a, version: v1}}
spec: {command: [x], ports: [{name: tcp-thrift, port: 9090}, {name: grpc-a, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
"""
ROUTER = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: r}
spec:
  hosts: [a.default.svc.cluster.local]
  routes:
"""
VIRTUAL = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a]
  http:
"""
TO = "route: [{destination: {host: a.default.svc.cluster.local, subset: v1, port: {number: 9080}}}]"


def rules(head: str, *routes: str) -> str:
    return SERVICE + head + "".join(f"  - {{{route}, {TO}}}\n" for route in routes)


def test_what_is_right_together_has_no_issue() -> None:
    text = rules(VIRTUAL, "match: [{uri: {exact: /a}}]", "match: [{uri: {prefix: /}}]")
    assert said(text) == []


@pytest.mark.parametrize(
    ("wide", "narrow", "code"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /ab}", "IST0131"),
        ("uri: {prefix: /a}", "uri: {exact: /ab}", "covered-match"),
        ("uri: {prefix: /A}, ignoreUriCase: true", "uri: {exact: /ab}, ignoreUriCase: true",
         "covered-match"),
        ("headers: {a: {exact: b}}", "headers: {a: {exact: b}, c: {}}", "covered-match"),
        ("headers: {a: {exact: b}}", "headers: {a: {exact: b}}, uri: {exact: /a}",
         "covered-match"),
        ("sourceLabels: {a: b}", "sourceLabels: {a: b, c: d}", "covered-match"),
        ("name: one, port: 9080", "port: 9080, name: two", "IST0131"),
    ],
)  # fmt: skip
def test_a_match_that_an_earlier_one_takes_is_named(wide: str, narrow: str, code: str) -> None:
    text = rules(VIRTUAL, f"match: [{{{wide}}}]", f"match: [{{{narrow}}}]")
    assert [line for line in said(text) if "match" in line] == [
        f"warning {code} spec.http[1].match[0]"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("uri: {prefix: /ab}", "uri: {prefix: /a}"),
        ("uri: {exact: /a}", "uri: {prefix: /a}"),
        ("uri: {regex: /a.*}", "uri: {exact: /ab}"),
        ("uri: {prefix: /A}, ignoreUriCase: true", "uri: {exact: /a}"),
        ("headers: {a: {exact: b}}", "headers: {a: {exact: c}}"),
        ("headers: {a: {exact: b}, c: {}}", "headers: {a: {exact: b}}"),
        ("headers: {a: {prefix: b}}", "headers: {a: {exact: bc}}"),
        ("withoutHeaders: {a: {}}", "headers: {a: {}}"),
        ("uri: {prefix: /a}, port: 9080", "uri: {prefix: /ab}"),
        ("sourceNamespace: one", "sourceNamespace: two"),
        ("method: {exact: GET}", "method: {exact: POST}"),
    ],
)
def test_a_match_that_takes_some_request_is_not(first: str, second: str) -> None:
    assert said(rules(VIRTUAL, f"match: [{{{first}}}]", f"match: [{{{second}}}]")) == []


def test_a_route_behind_one_without_a_match_is_never_reached() -> None:
    text = rules(VIRTUAL, "name: all", "match: [{uri: {exact: /a}}]", "name: more")
    assert said(text) == [
        "warning unreachable-route spec.http[1]",
        "warning IST0130 spec.http[2]",
    ]


def test_a_route_of_a_meta_router_behind_a_wider_one_is_never_reached() -> None:
    text = rules(
        ROUTER,
        "name: wide, match: {attributes: {a: {exact: b}}}",
        "name: narrow, match: {attributes: {a: {exact: b}, c: {prefix: d}}}",
        "name: other, match: {attributes: {c: {prefix: d}}}",
    )
    assert said(text) == ["warning unreachable-route spec.routes[1]"]


def test_which_of_two_rules_of_a_host_wins_is_said_for_each_port() -> None:
    virtual = rules(VIRTUAL, "match: [{uri: {exact: /a}}]")
    (issue,) = found(virtual + "---" + rules(ROUTER, "name: x").removeprefix(SERVICE))
    assert (issue.code, issue.path) == ("meta-router-wins", "spec.hosts[0]")
    assert issue.message.startswith("MetaRouter default/r decides for port 9090 (thrift) of a.")
    assert issue.hint == "this rule holds for port 9080"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("{host: a, subset: v2, port: {number: 9080}}",
         "error IST0101 spec.http[0].route[0].destination.subset"),
        ("{host: a}", "error IST0112 spec.http[0].route[0].destination"),
        ("{host: a, port: {number: 1}}",
         "error unknown-port spec.http[0].route[0].destination.port"),
        ("{host: b}", "warning unknown-host spec.http[0].route[0].destination.host"),
    ],
)  # fmt: skip
def test_a_destination_that_is_not_there_is_named(to: str, expected: str) -> None:
    assert said(f"{SERVICE}{VIRTUAL}  - route: [{{destination: {to}}}]") == [expected]


def test_a_rule_for_a_host_that_is_not_there_is_named() -> None:
    text = """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: gone}
        spec: {host: gone}
        """
    assert said(SERVICE + dedent(text)) == ["warning IST0174 spec.host"]


def test_one_port_of_two_protocols_is_named() -> None:
    entry = """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {{name: {0}}}
        spec:
          hosts: [x.example]
          resolution: STATIC
          ports: [{{number: 80, name: {1}, protocol: {1}}}]
        """
    text = dedent(entry.format("a", "HTTP")) + "---" + dedent(entry.format("b", "TCP"))
    assert "warning IST0177 spec.ports[0]" in said(text)


def to_host(host: str) -> str:
    return f"{SERVICE}{VIRTUAL}  - route: [{{destination: {{host: {host}}}}}]"


def meltemi(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meltemi", "analyze", *arguments], capture_output=True, text=True
    )


def test_the_command_says_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(to_host("a"))
    ended = meltemi(str(tmp_path), "-o", "json")
    (issue,) = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert (issue["code"], issue["severity"], issue["line"]) == ("IST0112", "error", 26)
    assert set(issue) == {
        "file", "line", "column", "path", "severity", "code", "message", "hint",
    }  # fmt: skip


def test_warnings_alone_end_with_0_and_no_document_with_2(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(to_host("b"))
    ended = meltemi(str(tmp_path))
    assert (ended.returncode, "1 warning" in ended.stdout) == (0, True)
    assert meltemi().returncode == 2
    assert meltemi(str(tmp_path / "gone")).returncode == 1


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: edge, labels: {istio: edge}}
spec: {mesh: gateway, ports: [{name: http, port: 8080}]}
---
"""
AT_GATEWAY = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [HOST]
  gateways: [NAME]
  http: [{route: [{destination: {host: a, port: {number: 9080}}}]}]
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (AT_GATEWAY.replace("HOST", "a.example.com").replace("NAME", "edge"), []),
        (
            AT_GATEWAY.replace("HOST", "a.example.com").replace("NAME", "shop/edge"),
            ["error IST0101 spec.gateways[0]"],
        ),
        (
            AT_GATEWAY.replace("HOST", "example.org").replace("NAME", "default/edge"),
            ["warning IST0132 spec.gateways[0]"],
        ),
        (
            "apiVersion: meltemi.io/v1alpha1\nkind: Workload\nmetadata: {name: b}\n"
            "spec: {mesh: gateway, ports: [{name: http, port: 8080}]}",
            ["warning no-gateway spec.mesh"],
        ),
        (
            "apiVersion: meltemi.io/v1alpha1\nkind: Workload\n"
            "metadata: {name: b, labels: {istio: edge}}\n"
            "spec: {mesh: gateway, ports: [{name: x, port: 9}, {name: http, port: 8080}]}",
            ["warning no-gateway spec.ports[0]"],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: b}\n"
            "spec: {selector: {a: b}, servers: "
            "[{port: {number: 1, name: a, protocol: HTTP}, hosts: ['*']}]}",
            ["error IST0101 spec.selector"],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: b}\n"
            "spec: {selector: {istio: edge}, servers: "
            "[{port: {number: 8081, name: a, protocol: HTTP}, hosts: ['*']}]}",
            ["warning IST0162 spec.servers[0].port"],
        ),
    ],
)
def test_gateways_that_are_not_there_and_ports_that_nobody_opens_are_found(
    text: str, wanted: list[str]
) -> None:
    assert said(SERVICE + GATEWAY + text) == wanted

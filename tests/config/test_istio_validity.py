# ruff: noqa: E501 - one case a line
"""What Istio takes is taken, and what it refuses is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.config.schema.types import duration_ns

OURS = {"ServiceEntry", "WorkloadEntry", "DestinationRule", "VirtualService"}


def judged(folder: Path, case: dict[str, Any]) -> config.Loaded:
    path = folder / case["file"]
    return config.load([config.Source(path.name, path.read_bytes())])


def index(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())["cases"]
    return [case for case in found if case["kind"] in OURS]


def test_istios_own_tests_of_validity_are_judged_as_istio_does(cases: Path) -> None:
    folder = cases / "validation"
    wrong = []
    for case in index(folder):
        found = judged(folder, case)
        if found.valid != case["valid"]:
            wrong.append((case["file"], str(found.issues)))
        elif case["valid"] and case["warning"] and not found.issues:
            wrong.append((case["file"], "no warning"))
    assert not wrong


def test_istios_samples_are_judged_as_an_api_server_does(cases: Path) -> None:
    folder = cases / "samples"
    wrong = [
        (case["file"], found.issues)
        for case in index(folder)
        if (found := judged(folder, case)).valid != case["schema_accepts"]
    ]
    assert not wrong


@pytest.mark.parametrize("kind", ["Sidecar", "EnvoyFilter", "WorkloadGroup", "ProxyConfig"])
def test_kinds_without_behaviour_are_taken_with_a_warning(load: Load, kind: str) -> None:
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}"
    assert [issue.code for issue in load(text).issues] == ["not-there-yet"]


def policy(text: str) -> str:
    return f"""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {{name: a}}
        spec: {{host: a, trafficPolicy: {text}}}
        """


VALID_POLICIES = """
{loadBalancer: {}}
{loadBalancer: {consistentHash: {}}}
{loadBalancer: {consistentHash: {useSourceIp: false, maglev: {tableSize: 65537}}}}
{loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s}}}}
{loadBalancer: {localityLbSetting: {enabled: false}}}
{loadBalancer: {localityLbSetting: {distribute: [{from: "a/b/*", to: {"a/b/*": 80, "a/c/*": 20}}]}}}
{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}
{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x]}}}
{loadBalancer: {warmup: {duration: 1m, aggression: 1, minimumPercent: 0}}}
{loadBalancer: {simple: UNSPECIFIED}}
{connectionPool: {tcp: {}}}
{connectionPool: {tcp: {maxConnections: 7.0, connectTimeout: 1h30m0.5s}}}
{connectionPool: {tcp: {tcpKeepalive: {probes: 0, time: 7200s}}}}
{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}
{outlierDetection: {}}
{outlierDetection: {consecutive5xxErrors: 0, consecutiveErrors: 5}}
{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3}}
{tls: {}}
{tls: {mode: MUTUAL, credentialName: a, insecureSkipVerify: true}}
{tls: {mode: ISTIO_MUTUAL, sni: x}}
{portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}
{portLevelSettings: [{port: {}, tls: {mode: DISABLE}}]}
{tunnel: {targetHost: 1.1.1.1, targetPort: 80, protocol: POST}}
{proxyProtocol: {version: V2}}
{proxyProtocol: {}}
{tls: null, loadBalancer: {simple: RANDOM}}
""".strip().splitlines()

INVALID_POLICIES = """
empty-policy|{}
empty-policy|{tls: null}
empty-policy|{portLevelSettings: []}
empty-policy|{connectionPool: {}}
empty-policy|{portLevelSettings: [{port: {number: 80}}]}
missing-field|{portLevelSettings: [{tls: {}}]}
wrong-type|{portLevelSettings: [null]}
wrong-type|{portLevelSettings: [{port: 80, tls: {}}]}
one-of|{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}
one-of|{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}}
one-of|{loadBalancer: {consistentHash: {ringHash: {}, maglev: {tableSize: 3}}}}
one-of|{loadBalancer: {consistentHash: {ringHash: {}, minimumRingSize: 3}}}
missing-field|{loadBalancer: {consistentHash: {maglev: {}}}}
bad-value|{loadBalancer: {consistentHash: {maglev: {tableSize: 1000}}}}
bad-value|{loadBalancer: {consistentHash: {maglev: {tableSize: 5000011}}}}
missing-field|{loadBalancer: {consistentHash: {httpCookie: {name: ""}}}}
duplicate-value|{loadBalancer: {consistentHash: {httpCookie: {name: a, attributes: [{name: a}, {name: a}]}}}}
one-of|{loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}}
one-of|{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}}}
one-of|{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}}}
bad-weights|{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 80, b: 10}}]}}}
bad-value|{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 0, b: 100}}]}}}
bad-value|{loadBalancer: {localityLbSetting: {distribute: [{from: "a/*/b", to: {a: 100}}]}}}
bad-value|{loadBalancer: {localityLbSetting: {distribute: [{from: "a//b", to: {a: 100}}]}}}
bad-value|{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 100}}, {from: a/b, to: {a: 100}}]}}}
bad-value|{loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}
bad-value|{loadBalancer: {localityLbSetting: {failover: [{from: a/b, to: c}]}}}
bad-value|{loadBalancer: {zoneAwareLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}}
bad-value|{loadBalancer: {simple: 4}}
bad-duration|{loadBalancer: {warmupDurationSecs: 0s}}
bad-value|{loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}}
wrong-type|{connectionPool: {tcp: {connectTimeout: 1}}}
wrong-type|{connectionPool: {tcp: {connectTimeout: 1.5}}}
bad-duration|{connectionPool: {tcp: {idleTimeout: -1s}}}
bad-duration|{connectionPool: {http: {idleTimeout: 0s}}}
bad-value|{connectionPool: {tcp: {maxConnections: 2147483648}}}
wrong-type|{connectionPool: {tcp: {maxConnections: true}}}
wrong-type|{connectionPool: {tcp: {maxConnections: 1.5}}}
one-of|{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}
bad-value|{outlierDetection: {minHealthPercent: -1}}
bad-value|{outlierDetection: {consecutive5xxErrors: 4294967296}}
needs-field|{outlierDetection: {consecutiveLocalOriginFailures: 3}}
one-of|{tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}
one-of|{tls: {mode: SIMPLE, credentialName: a, caCrl: b}}
missing-field|{tls: {mode: MUTUAL, clientCertificate: a}}
one-of|{tunnel: {targetHost: a, targetPort: 80}, proxyProtocol: {}}
bad-value|{tunnel: {targetHost: a, targetPort: 80, protocol: GET}}
invalid-host|{tunnel: {targetHost: "a b", targetPort: 80}}
bad-value|{tunnel: {targetHost: a, targetPort: 0}}
missing-field|{tunnel: {targetHost: a}}
bad-value|{proxyProtocol: {version: V3}}
unknown-field|{load_balancer: {simple: RANDOM}}
""".strip().splitlines()


@pytest.mark.parametrize("text", VALID_POLICIES)
def test_a_traffic_policy_that_istio_takes_is_valid(load: Load, text: str) -> None:
    assert not config.errors(load(policy(text)).issues)


@pytest.mark.parametrize("line", INVALID_POLICIES)
def test_a_traffic_policy_that_istio_refuses_is_invalid(load: Load, line: str) -> None:
    code, _, text = line.partition("|")
    found = config.errors(load(policy(text)).issues)
    assert code in {issue.code for issue in found}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{host: '*.com'}", []),
        ("{host: '*-a.com'}", []),
        ("{host: 'a.*'}", ["error invalid-host spec.host"]),
        ("{host: a.1}", ["error invalid-host spec.host"]),
        ("{host: a, exportTo: [., default]}", ["error duplicate-value spec.exportTo[1]"]),
        ("{host: a, exportTo: ['*', b]}", ["error invalid-export spec.exportTo"]),
        ("{host: a, exportTo: ['~']}", ["error invalid-export spec.exportTo[0]"]),
        ("{host: a, exportTo: []}", []),
        ("{host: a, subsets: [{name: ''}]}", ["error invalid-subset spec.subsets[0].name"]),
        ("{host: a, subsets: [{name: a_b}]}", ["error invalid-subset spec.subsets[0].name"]),
        ("{host: a, subsets: [{labels: {a: b}}]}", ["error missing-field spec.subsets[0].name"]),
        (
            "{host: a, subsets: [{name: a, labels: {-a: b}}]}",
            ["error invalid-label spec.subsets[0].labels.-a"],
        ),
        (
            "{host: a, exportTo: [b], workloadSelector: {matchLabels: {a: b}}}",
            ["error invalid-export spec.exportTo", "warning not-there-yet spec.workloadSelector"],
        ),
        (
            "{host: a, exportTo: [.], workloadSelector: {matchLabels: {a: 'b*'}}}",
            [
                "warning not-there-yet spec.workloadSelector",
                "error invalid-selector spec.workloadSelector.matchLabels.a",
            ],
        ),
    ],
)
def test_hosts_subsets_and_exports_of_a_destination_rule(
    load: Load, said: Said, spec: str, expected: list[str]
) -> None:
    text = f"""
        apiVersion: networking.istio.io/v1alpha3
        kind: DestinationRule
        metadata: {{name: a}}
        spec: {spec}
        """
    assert said(load(text)) == expected


PORT = "ports: [{number: 80, name: http, protocol: HTTP}]"
VALID_ENTRIES = f"""
{{hosts: [a.com], resolution: STATIC, {PORT}, endpoints: [{{address: "::1"}}]}}
{{hosts: [a.com], resolution: STATIC, {PORT}, endpoints: [{{network: net}}]}}
{{hosts: [a.com], resolution: DNS, {PORT}, endpoints: [{{address: b.com., ports: {{http: 1}}}}]}}
{{hosts: [a.com, b.com], resolution: DNS, addresses: [1.1.1.1], {PORT}}}
{{hosts: [a.com, b.com], resolution: NONE, ports: [{{number: 1, name: t, protocol: TCP}}]}}
{{hosts: [a.com], addresses: [1.1.1.1/8, "001:db8::"], resolution: STATIC}}
{{hosts: ["*x"]}}
{{hosts: ["*.a.com"], resolution: DYNAMIC_DNS, {PORT}}}
{{hosts: [a.com], exportTo: ["~"]}}
{{hosts: [a.com], endpoints: [], workloadSelector: {{}}}}
{{hosts: [a.com], resolution: STATIC, workloadSelector: {{labels: {{a: ""}}}}}}
{{hosts: [a.com], resolution: STATIC, {PORT}, endpoints: [{{address: "unix://@x"}}]}}
{{hosts: [a.com], ports: [{{number: 1, name: a, protocol: Mongo}}, {{number: 2, name: b}}]}}
{{hosts: [a.com], location: MESH_INTERNAL, subjectAltNames: [a]}}
""".strip().splitlines()

INVALID_ENTRIES = f"""
bad-value|{{hosts: []}}
missing-field|{{}}
invalid-host|{{hosts: ["*"]}}
invalid-host|{{hosts: [""]}}
invalid-host|{{hosts: ["a b"]}}
invalid-host|{{hosts: ["a.123"]}}
wrong-type|{{hosts: a.com}}
wrong-type|{{hosts: [null]}}
invalid-address|{{hosts: [a.com], addresses: [1.1.1]}}
invalid-address|{{hosts: [a.com], addresses: [1.1.1.1/33]}}
invalid-address|{{hosts: [a.com], addresses: [1.1.1.1/08]}}
cidr-resolution|{{hosts: [a.com], addresses: [1.1.1.1/8], resolution: DNS}}
invalid-port-name|{{hosts: [a.com], ports: [{{number: 1, name: ""}}]}}
missing-field|{{hosts: [a.com], ports: [{{number: 1}}]}}
bad-value|{{hosts: [a.com], ports: [{{number: 0, name: a}}]}}
unknown-protocol|{{hosts: [a.com], ports: [{{number: 1, name: a, protocol: thrift}}]}}
duplicate-port|{{hosts: [a.com], ports: [{{number: 1, name: a}}, {{number: 1, name: b}}]}}
duplicate-port|{{hosts: [a.com], ports: [{{number: 1, name: a}}, {{number: 2, name: a}}]}}
many-hosts|{{hosts: [a.com, b.com], resolution: STATIC, ports: [{{number: 1, name: a}}]}}
bad-value|{{hosts: [a.com], resolution: DNSS}}
bad-value|{{hosts: [a.com], resolution: 1}}
bad-value|{{hosts: [a.com], location: MESH}}
one-of|{{hosts: [a.com], resolution: STATIC, workloadSelector: {{}}, endpoints: [{{address: 1.1.1.1}}]}}
invalid-selector|{{hosts: [a.com], workloadSelector: {{labels: {{"": a}}}}}}
none-endpoints|{{hosts: [a.com], endpoints: [{{address: 1.1.1.1}}]}}
invalid-address|{{hosts: [a.com], resolution: STATIC, endpoints: [{{address: a.com}}]}}
missing-address|{{hosts: [a.com], resolution: STATIC, endpoints: [{{}}]}}
unknown-port|{{hosts: [a.com], resolution: STATIC, {PORT}, endpoints: [{{address: 1.1.1.1, ports: {{x: 1}}}}]}}
bad-value|{{hosts: [a.com], resolution: STATIC, {PORT}, endpoints: [{{address: 1.1.1.1, ports: {{http: 0}}}}]}}
unix-port|{{hosts: [a.com], resolution: STATIC, endpoints: [{{address: "unix:///x"}}]}}
invalid-label|{{hosts: [a.com], resolution: DNS, endpoints: [{{address: b, labels: {{a: "b c"}}}}]}}
dns-wildcard|{{hosts: ["*.a.com"], resolution: DNS}}
dns-endpoints|{{hosts: [a.com], resolution: DNS_ROUND_ROBIN, endpoints: [{{address: a}}, {{address: b}}]}}
dynamic-dns|{{hosts: [a.com], resolution: DYNAMIC_DNS}}
invalid-export|{{hosts: [a.com], exportTo: ["~", b]}}
unknown-field|{{hosts: [a.com], host: b}}
""".strip().splitlines()


def entry(spec: str, kind: str = "ServiceEntry") -> str:
    return f"""
        apiVersion: networking.istio.io/v1beta1
        kind: {kind}
        metadata: {{name: a}}
        spec: {spec}
        """


@pytest.mark.parametrize("spec", VALID_ENTRIES)
def test_a_service_entry_that_istio_takes_is_valid(load: Load, spec: str) -> None:
    assert not config.errors(load(entry(spec)).issues)


@pytest.mark.parametrize("line", INVALID_ENTRIES)
def test_a_service_entry_that_istio_refuses_is_invalid(load: Load, line: str) -> None:
    code, _, spec = line.partition("|")
    assert code in {issue.code for issue in config.errors(load(entry(spec)).issues)}


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("{address: a.b.c}", ""),
        ("{address: 'unix:///a/b'}", ""),
        ("{address: 1.1.1.1, weight: 0, ports: {a: 1}}", ""),
        ("{address: 1.1.1.1, weight: -1}", "bad-value"),
        ("{address: 'unix://a'}", "invalid-address"),
        ("{address: 'unix:///a/'}", "invalid-address"),
        ("{address: 'unix://@a/'}", "invalid-address"),
        ("{address: 'unix:///a', ports: {a: 1}}", "unix-port"),
        ("{address: 'a.b:80'}", "invalid-address"),
        ("{address: 1.1.1.1, ports: {a_b: 1}}", "invalid-port-name"),
        ("{address: 1.1.1.1, ports: {a: http}}", "wrong-type"),
        ("{address: 1.1.1.1, labels: {a: b.}}", "invalid-label"),
        ("{address: 11111111111111}", "wrong-type"),
        ("null", "missing-field"),
    ],
)
def test_workload_entries_are_judged_as_istio_does(load: Load, spec: str, code: str) -> None:
    found = config.errors(load(entry(spec, "WorkloadEntry")).issues)
    assert [issue.code for issue in found] == ([code] if code else [])


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1.5s", 1_500_000_000),
        ("100ms", 100_000_000),
        ("1h30m", 5_400_000_000_000),
        ("-2s", -2_000_000_000),
        ("0", 0),
        (".5s", 500_000_000),
        ("1us1µs", 2_000),
        ("30.000000005s", 30_000_000_005),
        ("", None),
        ("s", None),
        (".s", None),
        ("1", None),
        ("1 s", None),
        ("1d", None),
        ("9999999h", None),
    ],
)
def test_durations_are_those_of_go(text: str, nanoseconds: int | None) -> None:
    assert duration_ns(text) == nanoseconds

# ruff: noqa: E501 - one case a line
"""A valid field whose behaviour is not there yet is named; where it is about security, refused."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.model.addresses import Addresses


def rule(spec: str) -> str:
    return f"""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {{name: a}}
        spec: {spec}
        """


@pytest.mark.parametrize(
    ("policy", "paths"),
    [
        ("loadBalancer: {simple: LEAST_CONN}", []),
        ("loadBalancer: {simple: PASSTHROUGH}", ["loadBalancer.simple"]),
        ("loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {}}}", []),
        ("loadBalancer: {consistentHash: {httpHeaderName: a, maglev: {tableSize: 7}}}", []),
        ("loadBalancer: {consistentHash: {httpCookie: {name: a}}}", ["loadBalancer.consistentHash.httpCookie"]),
        ("loadBalancer: {consistentHash: {httpQueryParameterName: a}}", ["loadBalancer.consistentHash.httpQueryParameterName"]),
        ("loadBalancer: {warmup: {duration: 1s}}", ["loadBalancer.warmup"]),
        ("outlierDetection: {interval: 1s, minHealthPercent: 5}", []),
        ("connectionPool: {http: {maxRetries: 1, http2MaxRequests: 2, http1MaxPendingRequests: 3}}", []),
        ("connectionPool: {http: {idleTimeout: 1s, maxRequestsPerConnection: 1}}", ["connectionPool.http.idleTimeout", "connectionPool.http.maxRequestsPerConnection"]),
        ("connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", ["connectionPool.http.h2UpgradePolicy"]),
        ("retryBudget: {percent: 10, minRetryConcurrency: 1}", []),
        ("retryBudget: {budgetInterval: 1s}", ["retryBudget.budgetInterval"]),
        ("loadBalancer: {localityLbSetting: {enabled: true}}", ["loadBalancer.localityLbSetting"]),
        ("connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 1s}}", []),
        ("connectionPool: {tcp: {maxConnectionDuration: 1s}}", ["connectionPool.tcp.maxConnectionDuration"]),
        ("tls: {mode: DISABLE, sni: a}", []),
        ("tls: {mode: SIMPLE}", ["tls"]),
        ("tunnel: {targetHost: a, targetPort: 1}", ["tunnel"]),
        ("portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE}}]", ["portLevelSettings[0].tls"]),
    ],
)  # fmt: skip
def test_a_policy_without_its_behaviour_is_named(
    load: Load, said: Said, policy: str, paths: list[str]
) -> None:
    found = load(rule(f"{{host: a, trafficPolicy: {{{policy}}}}}"))
    assert said(found) == [f"warning not-there-yet spec.trafficPolicy.{path}" for path in paths]
    assert found.valid


def test_tls_makes_requests_refused_wherever_it_is_said(load: Load) -> None:
    tls = "tls: {mode: SIMPLE}"
    found = load(
        rule(f"""
          host: a
          trafficPolicy: {{{tls}, portLevelSettings: [{{port: {{number: 1}}, {tls}}}]}}
          subsets:
          - {{name: v1, trafficPolicy: {{{tls}}}}}
          - {{name: v2, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}
          - {{name: v3, trafficPolicy: {{portLevelSettings: [{{port: {{number: 2}}, {tls}}}]}}}}
        """)
    )
    (made,) = config.build(found.objects, Addresses())[0].destination_rules
    assert made.policy.unsafe is not None
    assert "SIMPLE" in made.policy.unsafe
    assert made.port_policies[0][1].unsafe
    assert [bool(subset.policy.unsafe) for subset in made.subsets] == [True, False, False]
    assert [subset.policy.unsafe for subset in made.subsets[1:]] == ["", None]
    assert made.subsets[2].port_policies[0][1].unsafe


def test_a_rule_of_some_workloads_holds_for_none_but_refuses_for_all(load: Load) -> None:
    selector = "workloadSelector: {matchLabels: {app: x}}"
    plain = load(
        rule(f"{{host: a, {selector}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}")
    )
    assert config.build(plain.objects, Addresses())[0].destination_rules == ()
    tls = load(
        rule(
            f"{{host: a, {selector}, trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: c}}}}}}"
        )
    )
    (made,) = config.build(tls.objects, Addresses())[0].destination_rules
    assert made.policy.unsafe


def test_a_selector_says_that_the_whole_rule_is_left_out(load: Load, said: Said) -> None:
    (issue,) = load(rule("{host: a, workloadSelector: {matchLabels: {app: x}}}")).issues
    assert issue.hint == "the whole rule is left out, but for its tls"
    empty = load(rule("{host: a, workloadSelector: {matchLabels: {}}}"))
    assert said(empty) == ["warning empty-selector spec.workloadSelector"]
    assert len(config.build(empty.objects, Addresses())[0].destination_rules) == 1


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [("mesh: none, ", ["warning no-effect spec.ports[0].hostPort"]), ("mesh: sidecar, ", [])],
)
def test_a_host_port_without_a_sidecar_is_named(
    load: Load, said: Said, mesh: str, expected: list[str]
) -> None:
    found = load(f"""
        apiVersion: meltemi.io/v1alpha1
        kind: Workload
        metadata: {{name: a}}
        spec: {{{mesh}command: [x], ports: [{{name: thrift, port: 1, hostPort: 2}}]}}
        """)
    assert said(found) == expected


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("v1 Service {ports: [{port: 1}], type: LoadBalancer}", ["spec.type"]),
        ("v1 Service {ports: [{port: 1, nodePort: 30000}]}", ["spec.ports[0].nodePort"]),
        ("v1 Service {ports: [{port: 1, protocol: UDP}]}", ["spec.ports[0].protocol"]),
        ("v1 Service {clusterIP: None}", ["spec.clusterIP"]),
        ("v1 Service {ports: [{port: 1, protocol: TCP}], sessionAffinity: None}", []),
        ("meltemi.io/v1alpha1 Workload {mesh: gateway}", []),
        ("meltemi.io/v1alpha1 Workload {command: [x], mesh: proxyless}", []),
        ("networking.istio.io/v1 WorkloadEntry {address: 1.1.1.1, network: x}", ["spec.network"]),
        ("networking.istio.io/v1 WorkloadEntry {address: 'unix:///x'}", ["spec.address"]),
        (
            "networking.istio.io/v1 ServiceEntry {hosts: ['*.a.b'], resolution: DYNAMIC_DNS}",
            ["spec.hosts[0]", "spec.resolution"],
        ),
        (
            "networking.istio.io/v1 ServiceEntry {hosts: [a.b], addresses: [1.1.1.1]}",
            ["spec.resolution", "spec.addresses"],
        ),
        (
            "networking.istio.io/v1 ServiceEntry {hosts: [a.b], resolution: STATIC, subjectAltNames: [x]}",
            ["spec.subjectAltNames"],
        ),
    ],
)
def test_other_kinds_name_what_is_not_there(load: Load, text: str, paths: list[str]) -> None:
    version, kind, spec = text.split(" ", 2)
    found = load(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n")
    assert found.valid, found.issues
    assert [issue.path for issue in found.issues if issue.code == "not-there-yet"] == paths


def test_a_port_whose_codec_is_not_there_is_named(load: Load, said: Said) -> None:
    found = load("""
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: ApplicationProtocol
        metadata: {name: qza}
        spec: {protocol: qza, codec: aeraki.meta_protocol.codec.qza}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: a}
        spec:
          ports:
          - {name: tcp-metaprotocol-qza, port: 1}
          - {name: tcp-metaprotocol-thrift, port: 2}
          - {name: http, port: 3}
        """)
    mesh, issues = config.build(found.objects, Addresses())
    assert said(issues) == ["warning not-there-yet spec.ports[0]"]
    (service,) = mesh.services.values()
    assert [port.protocol for port in service.ports] == ["qza", "thrift", "tcp"]


def test_dubbo_ports_of_a_namespace_with_an_authorization_policy_are_closed(load: Load) -> None:
    service = """
        apiVersion: v1
        kind: Service
        metadata: {name: a, namespace: NS}
        spec: {ports: [{name: tcp-dubbo, port: 1}, {name: thrift, port: 2}]}
        """
    policy = """
        apiVersion: dubbo.aeraki.io/v1alpha1
        kind: DubboAuthorizationPolicy
        metadata: {name: deny, namespace: bank}
        spec: {action: DENY}
        """
    found = load(
        bank=service.replace("NS", "bank"), shop=service.replace("NS", "shop"), policy=policy
    )
    assert "closed" in found.issues[0].hint
    mesh, _ = config.build(found.objects, Addresses())
    unsafe = {
        service.namespace: [port.unsafe for port in service.ports]
        for service in mesh.services.values()
    }
    assert unsafe["shop"] == ["", ""]
    assert unsafe["bank"] == ["DubboAuthorizationPolicy bank/deny is not there yet", ""]

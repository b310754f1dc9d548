# ruff: noqa: E501 - one case a line
"""More of what Istio's tests of validity hold: each kind, with its verdict and what we say."""

from __future__ import annotations

import pytest
from conftest import Load
from meltemi import config

RULES = """
a retry budget alone is a policy          |ok          |{retryBudget: {percent: 25, minRetryConcurrency: 3}}
an empty retry budget is a policy         |ok          |{retryBudget: {}}
part of a percent of retries              |ok          |{retryBudget: {percent: 12.5}}
a budget of present requests only         |ok          |{retryBudget: {budgetInterval: 0s}}
a retry budget beside others              |ok          |{retryBudget: {percent: 0}, loadBalancer: {simple: RANDOM}}
more retries than requests                |bad-value   |{retryBudget: {percent: 100.5}}
a negative share of retries               |bad-value   |{retryBudget: {percent: -1}}
a negative number of retries              |bad-value   |{retryBudget: {minRetryConcurrency: -1}}
an interval without a unit                |bad-duration|{retryBudget: {budgetInterval: "5"}}
a port has no retry budget                |unknown-field|{portLevelSettings: [{port: {number: 1}, retryBudget: {}}]}
both forms of warm-up                     |ok          |{loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 2s}}
a warm-up without a duration              |missing-field|{loadBalancer: {warmup: {minimumPercent: 5}}}
a warm-up above all                       |bad-value   |{loadBalancer: {warmup: {duration: 1s, minimumPercent: 100.1}}}
a ConfigMap next to the rule              |ok          |{tls: {mode: SIMPLE, credentialName: "configmap://default/ca"}}
a ConfigMap of another namespace          |bad-value   |{tls: {mode: SIMPLE, credentialName: "configmap://other/ca"}}
that, for mutual TLS                      |bad-value   |{tls: {mode: MUTUAL, credentialName: "configmap://other/ca"}}
that, where there is no TLS               |bad-value   |{tls: {mode: DISABLE, credentialName: "configmap://other/ca"}}
that, of a port                           |bad-value   |{portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE, credentialName: "configmap://other/ca"}}]}
a ConfigMap without a namespace           |bad-value   |{tls: {mode: SIMPLE, credentialName: "configmap://ca"}}
a ConfigMap of no namespace               |bad-value   |{tls: {mode: SIMPLE, credentialName: "configmap:///ca"}}
a ConfigMap without a name                |bad-value   |{tls: {mode: SIMPLE, credentialName: "configmap://default/"}}
a Secret of another namespace             |ok          |{tls: {mode: SIMPLE, credentialName: "kubernetes-gateway://other/ca"}}
a key without its certificate             |missing-field|{tls: {mode: MUTUAL, privateKey: k}}
nobody verified, nothing to verify with   |ok          |{tls: {mode: SIMPLE, insecureSkipVerify: true}}
nobody verified, but names given          |one-of      |{tls: {mode: MUTUAL, clientCertificate: c, privateKey: k, subjectAltNames: [a], insecureSkipVerify: true}}
a connection that lives for less than 1 ms|bad-duration|{connectionPool: {tcp: {maxConnectionDuration: 500ns}}}
pings without an end                      |missing-field|{connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}
pings without a pause                     |bad-duration|{connectionPool: {http: {http2KeepAlive: {interval: 0s, timeout: 1s}}}}
a tunnel to a wildcard                    |invalid-host|{tunnel: {targetHost: "*.a.com", targetPort: 1}}
a tunnel to an IPv6 address               |ok          |{tunnel: {targetHost: "2001:db8::1", targetPort: 1}}
zones with both kinds of failover         |ok          |{loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}], failoverPriority: [a=b]}}}
weights of more than all                  |bad-weights |{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a/b/c: 80, a/b1: 25}}]}}}
two wildcards in a locality               |bad-value   |{loadBalancer: {localityLbSetting: {distribute: [{from: "*/z/*", to: {a: 100}}]}}}
a locality after all of them              |bad-value   |{loadBalancer: {localityLbSetting: {distribute: [{from: "*", to: {a: 100}}, {from: a/b, to: {a: 100}}]}}}
localities side by side                   |ok          |{loadBalancer: {localityLbSetting: {distribute: [{from: a/*, to: {a: 100}}, {from: b/c/*, to: {a: 100}}, {from: b/d, to: {a: 100}}]}}}
""".strip().splitlines()

ENTRIES = """
every host, looked up as it is asked for|invalid-host|{hosts: ["*"], resolution: DYNAMIC_DNS}
wildcards of several domains            |ok          |{hosts: ["*.a.com", "*.b.com"], resolution: DYNAMIC_DNS, ports: [{number: 443, name: a, protocol: HTTPS}]}
a wildcard and a name                   |dynamic-dns |{hosts: ["*.a.com", b.com], resolution: DYNAMIC_DNS, ports: [{number: 443, name: a, protocol: TLS}]}
a wildcard of plain TCP                 |dynamic-dns |{hosts: ["*.a.com"], resolution: DYNAMIC_DNS, ports: [{number: 1, name: a, protocol: TCP}]}
a wildcard with endpoints               |dynamic-dns |{hosts: ["*.a.com"], resolution: DYNAMIC_DNS, endpoints: [{address: b.com}]}
a port of a tunnel                      |ok          |{hosts: [a.com], ports: [{number: 15008, name: a, protocol: HBONE}]}
a target beyond the last port           |bad-value   |{hosts: [a.com], resolution: DNS, ports: [{number: 80, name: a, targetPort: 65536}]}
a target of no port                     |bad-value   |{hosts: [a.com], resolution: DNS, ports: [{number: 80, name: a, targetPort: 0}]}
one target of two ports                 |ok          |{hosts: [a.com], resolution: DNS, ports: [{number: 80, name: a, targetPort: 80}, {number: 81, name: b, targetPort: 80}]}
hosts of one label among others         |ok          |{hosts: [a, b.com], resolution: DNS, ports: [{number: 80, name: a, protocol: http}]}
a wildcard with named endpoints         |ok          |{hosts: ["*.a.com"], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}]}
a wildcard at the end                   |invalid-host|{hosts: ["a*"]}
an address as a host                    |invalid-host|{hosts: [1.1.1.1]}
an address with a leading zero          |invalid-address|{hosts: [a.com], addresses: [010.1.1.1]}
a wildcard in the key of a selector     |invalid-selector|{hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {"*": a}}}
""".strip().splitlines()

VERSIONS = ("v1", "v1beta1", "v1alpha3")


def judged(load: Load, kind: str, line: str, spec: str) -> None:
    code = line.split("|")[1].strip()
    for version in VERSIONS:
        text = f"""
            apiVersion: networking.istio.io/{version}
            kind: {kind}
            metadata: {{name: a}}
            spec: {spec}
            """
        found = {issue.code for issue in config.errors(load(text).issues)}
        assert code in found if code != "ok" else not found


@pytest.mark.parametrize("line", RULES, ids=lambda line: line.split("|")[0].strip())
def test_a_policy_is_judged_as_istio_does(load: Load, line: str) -> None:
    policy = line.split("|", 2)[2]
    judged(load, "DestinationRule", line, f"{{host: a, trafficPolicy: {policy}}}")
    subset = f"[{{name: b, trafficPolicy: {policy}}}]"
    judged(load, "DestinationRule", line, f"{{host: a, subsets: {subset}}}")


@pytest.mark.parametrize("line", ENTRIES, ids=lambda line: line.split("|")[0].strip())
def test_an_entry_is_judged_as_istio_does(load: Load, line: str) -> None:
    judged(load, "ServiceEntry", line, line.split("|", 2)[2])


def test_of_two_forms_of_warm_up_the_one_without_effect_is_named(load: Load) -> None:
    found = load("""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: a}
        spec:
          host: a
          trafficPolicy: {loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 2s}}
        """)
    where = "spec.trafficPolicy.loadBalancer.warmupDurationSecs"
    assert ("no-effect", where) in {(issue.code, issue.path) for issue in found.issues}

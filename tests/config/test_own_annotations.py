"""Annotations under meltemi.io/: what they set, and that no other is taken for one."""

from __future__ import annotations

import pytest
from conftest import Load
from meltemi import config
from meltemi.model import DestinationRule
from meltemi.model.addresses import Addresses

IN_FLIGHT = "meltemi.io/max-in-flight-per-connection"


def rule(annotations: str, spec: str = "{host: a}", kind: str = "DestinationRule") -> str:
    return f"""
        apiVersion: networking.istio.io/v1
        kind: {kind}
        metadata: {{name: a, annotations: {{{annotations}}}}}
        spec: {spec}
        """


def made(load: Load, spec: str) -> DestinationRule:
    found = load(rule(f'{IN_FLIGHT}: "64"', spec))
    assert found.valid, found.issues
    (one,) = config.build(found.objects, Addresses())[0].destination_rules
    return one


def test_it_holds_for_every_policy_of_the_host(load: Load) -> None:
    pool = "connectionPool: {tcp: {maxConnections: 5}}"
    balance = "loadBalancer: {simple: RANDOM}"
    one = made(
        load,
        f"""
          host: a
          trafficPolicy: {{{balance}, portLevelSettings: [{{port: {{number: 1}}, {balance}}}]}}
          subsets:
          - {{name: v1}}
          - {{name: v2, trafficPolicy: {{{pool}}}}}
          - {{name: v3, trafficPolicy: {{portLevelSettings: [{{port: {{number: 2}}, {pool}}}]}}}}
        """,
    )
    policies = [one.policy, one.port_policies[0][1], one.subsets[1].policy]
    policies.append(one.subsets[2].port_policies[0][1])
    pools = [policy.connection_pool for policy in policies]
    assert [pool and pool.max_in_flight for pool in pools] == [64] * 4
    assert [pool and pool.max_connections for pool in pools] == [None, None, 5, 5]
    assert one.subsets[0].policy.connection_pool is None, "it has the host's"


def test_without_it_nothing_is_said(load: Load) -> None:
    found = load(rule(""))
    (one,) = config.build(found.objects, Addresses())[0].destination_rules
    assert one.policy.connection_pool is None


@pytest.mark.parametrize("value", ["1", "1048576"])
def test_the_range_is_taken_whole(load: Load, value: str) -> None:
    assert load(rule(f'{IN_FLIGHT}: "{value}"')).issues == ()


@pytest.mark.parametrize("value", ["0", "1048577", "-1", "1.5", "many", "", "+5", "٣"])
def test_a_number_that_cannot_be_is_an_error_at_its_place(load: Load, value: str) -> None:
    (issue,) = load(rule(f'{IN_FLIGHT}: "{value}"')).issues
    assert (issue.severity, issue.code, issue.line) == ("error", "bad-value", 4)
    assert issue.path == f'metadata.annotations["{IN_FLIGHT}"]'


def test_a_number_without_quotes_is_told_to_have_some(load: Load) -> None:
    (issue,) = load(rule(f"{IN_FLIGHT}: 64")).issues
    assert (issue.code, issue.hint) == ("wrong-type", "put it in quotes")


def test_an_unknown_one_is_an_error_with_the_nearest(load: Load) -> None:
    (issue,) = load(rule('meltemi.io/max-inflight-per-connection: "1"')).issues
    assert (issue.severity, issue.code) == ("error", "unknown-annotation")
    assert issue.hint == f"did you mean {IN_FLIGHT}?"


def test_one_of_another_kind_is_told_where_it_belongs(load: Load) -> None:
    entry = rule(f'{IN_FLIGHT}: "1"', "{address: 1.1.1.1}", "WorkloadEntry")
    (issue,) = load(entry).issues
    assert (issue.code, issue.hint) == ("unknown-annotation", "it is for a DestinationRule")


def test_annotations_of_others_are_not_judged(load: Load) -> None:
    assert load(rule('example.com/x: "1", notmeltemi.io/y: "2"')).issues == ()

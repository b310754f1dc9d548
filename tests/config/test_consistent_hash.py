"""`consistentHash` of a DestinationRule as the model has it."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.model import ConsistentHash
from meltemi.model.addresses import Addresses


def rule(balancer: str) -> str:
    return f"""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {{name: a}}
        spec: {{host: a, trafficPolicy: {{loadBalancer: {{consistentHash: {balancer}}}}}}}
        """


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("{httpHeaderName: Method}", ConsistentHash("Method", minimum_ring_size=1024)),
        ("{useSourceIp: true}", ConsistentHash(source_ip=True, minimum_ring_size=1024)),
        ("{useSourceIp: true, ringHash: {}}", ConsistentHash(source_ip=True)),
        (
            "{httpHeaderName: a, ringHash: {minimumRingSize: 64}}",
            ConsistentHash("a", minimum_ring_size=64),
        ),
        (
            "{httpHeaderName: a, minimumRingSize: 64}",
            ConsistentHash("a", minimum_ring_size=64),
        ),
        (
            "{httpHeaderName: a, maglev: {tableSize: 251}}",
            ConsistentHash("a", table_size=251),
        ),
        ("{}", ConsistentHash(minimum_ring_size=1024)),
        ("{httpCookie: {name: a}}", None),
        ("{httpQueryParameterName: a, maglev: {tableSize: 251}}", None),
    ],
)
def test_a_rule_means_what_it_says(load: Load, said: str, meant: ConsistentHash | None) -> None:
    found = load(rule(said))
    assert found.valid
    (made,) = config.build(found.objects, Addresses())[0].destination_rules
    assert made.policy.load_balancer == meant


def test_a_ring_larger_than_envoys_largest_is_a_warning(load: Load, said: Said) -> None:
    most = 8 * 1024 * 1024
    assert said(load(rule(f"{{httpHeaderName: a, ringHash: {{minimumRingSize: {most}}}}}"))) == []
    found = load(rule(f"{{httpHeaderName: a, ringHash: {{minimumRingSize: {most + 1}}}}}"))
    path = "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize"
    assert said(found) == [f"warning out-of-range {path}"]

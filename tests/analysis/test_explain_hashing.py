"""`meltemi explain` of a service that is balanced by hash."""

from __future__ import annotations

from typing import Any

import pytest
from meltemi.analysis.explain import Question, explain, lines
from meltemi.config import Source, build, errors, load
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

MESH = """
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  selector: {app: hello}
  ports: [{name: tcp-metaprotocol-thrift, port: 90, targetPort: 9090}, {name: raw, port: 70}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello, namespace: shop, labels: {app: hello}}
spec:
  command: [python, server.py]
  replicas: 3
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}, {name: raw, port: 70}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: client, namespace: shop}
spec: {command: [python, client.py], replicas: 2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello, namespace: shop}
spec:
  host: hello
  trafficPolicy:
    loadBalancer: BALANCER
"""


def mesh(balancer: str) -> Mesh:
    text = MESH.replace("BALANCER", balancer)
    loaded = load([Source("mesh.yaml", text.encode())], "default")
    assert errors(loaded.issues) == []
    return build(loaded.objects, Addresses())[0]


def asked(of: Mesh, caller: str = "", port: int = 90, **attributes: str) -> dict[str, Any]:
    question = Question("hello.shop", caller=caller, port=port, attributes=attributes)
    answer = explain(of, question)
    [cluster] = answer["clusters"]
    text = "\n".join(lines(answer))
    return {key: cluster[key] for key in ("balancer", "hashed_by", "endpoint")} | {"text": text}


@pytest.mark.parametrize(
    ("algorithm", "policy"), [("", "RING_HASH"), (", maglev: {tableSize: 251}", "MAGLEV")]
)
def test_the_endpoint_is_named_when_the_attribute_is_given(algorithm: str, policy: str) -> None:
    of = mesh(f"{{consistentHash: {{httpHeaderName: Method{algorithm}}}}}")
    unknown = asked(of)
    assert (unknown["balancer"], unknown["hashed_by"]) == (policy, ["attribute method"])
    assert unknown["endpoint"] is None
    assert "by the hash of attribute method; by chance where a request has none" in unknown["text"]
    chosen = [asked(of, method=f"m{number}") for number in range(30)]
    assert len({answer["endpoint"] for answer in chosen}) == 3
    for answer in chosen:
        assert f"by the hash of attribute method: goes to {answer['endpoint']}" in answer["text"]


def test_a_callers_endpoint_is_named_when_there_is_one_caller() -> None:
    of = mesh("{consistentHash: {useSourceIp: true}}")
    assert asked(of, "client-0")["hashed_by"] == ["address of the caller"]
    assert asked(of, "client-0")["endpoint"] is not None
    assert asked(of, "client")["endpoint"] is None


def test_a_connection_as_tcp_goes_by_its_caller() -> None:
    of = mesh("{consistentHash: {useSourceIp: true}}")
    assert asked(of, "client-0", 70)["hashed_by"] == ["address of the caller"]


def test_a_service_that_is_balanced_otherwise_says_only_how() -> None:
    answer = asked(mesh("{simple: RANDOM}"), method="m")
    assert (answer["balancer"], answer["hashed_by"], answer["endpoint"]) == ("RANDOM", [], None)
    assert "hash" not in answer["text"]
    assert "nothing of a request is hashed" in asked(mesh("{consistentHash: {}}"))["text"]

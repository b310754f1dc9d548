"""`meltemi explain` of requests whose marks do not count, or end."""

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
  ports: [{name: tcp-metaprotocol-thrift, port: 90, targetPort: 9090}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello, namespace: shop, labels: {app: hello, env: dev}}
spec:
  command: [python, server.py]
  ports: [{name: tcp-metaprotocol-thrift, port: 9090}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: front, namespace: shop, labels: {app: front}}
spec: {command: [python, client.py], mesh: MODE}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: other, namespace: shop}
spec: {command: [python, client.py], mesh: MODE}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay.example.com]
  resolution: STATIC
  ports: [{number: 90, name: tcp-metaprotocol-thrift, protocol: TCP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: group, namespace: shop}
spec: {baggageKey: env, services: [{host: hello}], marksFrom: [{labels: {app: front}}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev, namespace: shop}
spec: {group: group}
"""


def mesh(mode: str = "sidecar") -> Mesh:
    loaded = load([Source("mesh.yaml", MESH.replace("MODE", mode).encode())], "default")
    assert errors(loaded.issues) == []
    return build(loaded.objects, Addresses())[0]


def asked(service: str, caller: str, baggage: str, mode: str = "sidecar") -> dict[str, Any]:
    question = Question(service, caller=caller, port=90, attributes={"baggage": baggage})
    return explain(mesh(mode), question)


@pytest.mark.parametrize("mode", ["sidecar", "proxyless"])
def test_a_mark_decides_only_for_callers_whose_marks_count(mode: str) -> None:
    counts = asked("hello.shop", "front.shop", "env=dev", mode)
    assert (counts["route"], counts["notes"]) == ("lane-dev", [])
    ignored = asked("hello.shop", "other.shop", "env=dev", mode)
    assert ignored["route"] == "lane-baseline"
    said = "marks of lanes (env) do not count from other.shop: marksFrom does not have it"
    assert ignored["notes"] == [said]
    assert f"note: {said}" in list(lines(ignored))
    assert asked("hello.shop", "other.shop", "a=1", mode)["notes"] == []


def test_a_mark_that_ends_at_a_host_outside_of_the_mesh_is_noted() -> None:
    answer = asked("pay.example.com", "front.shop", "a=1,env=dev")
    assert [cluster["problem"] for cluster in answer["clusters"]] == [None]
    assert answer["notes"] == ["marks of lanes (env) end here: the host is outside of the mesh"]
    assert asked("pay.example.com", "front.shop", "a=1")["notes"] == []

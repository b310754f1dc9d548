"""The rules of Aeraki's Thrift demo, through our checks, mean what Aeraki's own proxy is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from meltemi.config import Source, build, errors, load
from meltemi.model.addresses import Addresses
from meltemi.xds.resource import Node
from sample_mesh import resources

HOST = "thrift-sample-server.meta-thrift.svc.cluster.local"
DEMO = "aeraki/demo/metaprotocol-thrift"
SAY_HELLO = [{"name": "method", "exact_match": "sayHello"}]
V1, V2 = (f"outbound|9090|{version}|{HOST}" for version in ("v1", "v2"))
ALL = f"outbound|9090||{HOST}"

WORKLOADS = "\n---\n".join(
    f"""
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata:
  name: thrift-sample-{name}
  namespace: meta-thrift
  labels: {{app: thrift-sample-{name.partition("-")[0]}, version: {name.partition("-")[2]!r}}}
spec:
  command: [python, app.py]
  ports: [{{name: main, port: 9090}}]
"""
    for name in ("server-v1", "server-v2", "client")
)


def given(cases: Path, *files: str) -> dict[str, dict[str, Any]]:
    """What the demo's client gets once these files are applied beside the demo's service."""
    names = ("thrift-sample.yaml", "destinationrule.yaml", *files)
    sources = [Source(name, (cases / DEMO / name).read_bytes()) for name in dict.fromkeys(names)]
    loaded = load([*sources, Source("workloads.yaml", WORKLOADS)], "meta-thrift")
    mesh, issues = build(loaded.objects, Addresses())
    assert errors([*loaded.issues, *issues]) == []
    client = next(w for w in mesh.workloads if w.name == "thrift-sample-client")
    metadata = {"MELTEMI_CLIENT": "sidecar"}
    return resources(mesh, Node.of(client.node_id(client.instances[0]), metadata=metadata))


def routes(cases: Path, *files: str) -> list[dict[str, Any]]:
    (host,) = given(cases, *files)["RouteConfiguration"][f"{HOST}_9090"]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


def test_the_sample_has_a_default_route_and_a_cluster_for_each_version(cases: Path) -> None:
    made = given(cases)
    assert set(made["Cluster"]) == {ALL, V1, V2, "inbound|9090||"}
    counts = {
        name: sum(len(locality["lb_endpoints"]) for locality in assignment["endpoints"])
        for name, assignment in made["ClusterLoadAssignment"].items()
    }
    assert counts == {ALL: 2, V1: 1, V2: 1}
    assert routes(cases) == [
        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": ALL}}
    ]


@pytest.mark.parametrize(
    ("file", "cluster"), [("metarouter-v1.yaml", V1), ("metarouter-v2.yaml", V2)]
)
def test_a_method_is_sent_to_one_version(cases: Path, file: str, cluster: str) -> None:
    match = {"prefix": "/", "headers": SAY_HELLO}
    assert routes(cases, file) == [{"name": "v1", "match": match, "route": {"cluster": cluster}}]


def test_traffic_is_split_20_to_80(cases: Path) -> None:
    (made,) = routes(cases, "traffic-split.yaml")
    assert made["name"] == "traffic-split"
    assert made["match"]["headers"] == SAY_HELLO
    assert made["route"]["weighted_clusters"] == {
        "clusters": [{"name": V1, "weight": 20}, {"name": V2, "weight": 80}],
        "total_weight": 100,
    }


def test_headers_are_mutated(cases: Path) -> None:
    (made,) = routes(cases, "metarouter-header-mutation.yaml")
    headers = [added["header"] for added in made["request_headers_to_add"]]
    assert headers == [{"key": "foo", "value": "bar"}, {"key": "foo1", "value": "bar1"}]
    assert (made["name"], made["route"]) == ("header-mutation", {"cluster": ALL})


def test_a_rule_that_only_limits_routes_by_default(cases: Path) -> None:
    assert [made["name"] for made in routes(cases, "metarouter-global-ratelimit.yaml")] == [
        "default"
    ]


def test_a_rule_that_limits_and_routes_routes(cases: Path) -> None:
    (made,) = routes(cases, "metarouter-local-ratelimit.yaml")
    assert (made["name"], made["route"]) == ("v1", {"cluster": V1})
    assert made["match"]["headers"] == SAY_HELLO

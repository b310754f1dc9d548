"""Kitex (Go) with kitex-contrib/xds, without a sidecar, takes its rules from our control plane."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import kitex_peers
import pytest
from mesh import Mesh, eventually, running

pytestmark = pytest.mark.peers

VERSIONS = ("v1", "v2", "v3")
SERVICE = "peer:9080"

MESH = """
apiVersion: v1
kind: Service
metadata: {name: peer, namespace: shop}
spec:
  selector: {app: peer}
  ports: [{name: tcp-peer, port: 9080}, {name: tcp-thrift, port: 9081, targetPort: 9080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: peer, namespace: shop}
spec:
  host: peer
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
    - {name: v3, labels: {version: v3}}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: front, namespace: shop, labels: {app: front}}
spec: {command: [python, environment.py], mesh: proxyless}
"""
WORKLOAD = """
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {{name: peer-{0}, namespace: shop, labels: {{app: peer, version: {0}}}}}
spec:
  command: [sh, -c, 'exec {1} server -listen $INSTANCE_IP:9080 -name {0}']
  ports: [{{name: tcp-peer, port: 9080}}]
  mesh: proxyless
"""
ENVIRONMENT = """
import json, os, pathlib, time

new = pathlib.Path("environment.new")
new.write_text(json.dumps(dict(os.environ)))
new.rename("environment.json")
time.sleep(1e9)
"""


def workloads(versions: tuple[str, ...]) -> str:
    return "".join(WORKLOAD.format(version, kitex_peers.PEER) for version in versions)


@pytest.fixture(scope="module")
def shop(kitex: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("kitex") / "shop"
    directory.mkdir()
    (directory / "environment.py").write_text(ENVIRONMENT)
    (directory / "mesh.yaml").write_text(MESH)
    (directory / "peers.yaml").write_text(workloads(VERSIONS))
    with running(directory) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def caller(shop: Mesh) -> Iterator[kitex_peers.Client]:
    """In the environment that `up` gave a workload without a sidecar."""
    written = shop.directory / "environment.json"
    eventually(written.exists, 20)
    with kitex_peers.routed(SERVICE, _json(written)) as made:
        rules(shop, "- route: [{destination: {host: peer}}]")
        eventually(lambda: goes_to(made, *VERSIONS), 30)
        yield made


def _json(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(path.read_text())
    return found


def rules(mesh: Mesh, http: str) -> None:
    """The http routes that hold from now on."""
    text = """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: peer, namespace: shop}
        spec:
          hosts: [peer]
          http:
        """
    (mesh.directory / "rule.yaml").write_text(dedent(text) + indent(dedent(http), "    "))
    found = mesh.meltemi("validate", "-f", str(mesh.directory), mesh=False)
    assert found.code == 0, found.out


def answers(
    client: kitex_peers.Client, count: int, method: str = "Call", **transient: str
) -> Counter[str]:
    made: Counter[str] = Counter()
    for _ in range(count):
        done = client.call(method=method, transient=transient)
        made[done.seen.name if done.answer else done.error] += 1
    return made


def goes_to(
    client: kitex_peers.Client, *versions: str, count: int = 12, method: str = "Call", **more: str
) -> bool:
    return set(answers(client, count, method, **more)) == set(versions)


def test_calls_go_by_their_metadata(shop: Mesh, caller: kitex_peers.Client) -> None:
    rules(
        shop,
        """
        - match: [{headers: {baggage: {exact: env=dev}}}, {headers: {user: {regex: "a|b.*"}}}]
          route: [{destination: {host: peer, subset: v2}}]
        - match: [{headers: {lane: {prefix: test-}}}, {headers: {canary: {}}}]
          route: [{destination: {host: peer, subset: v3}}]
        - route: [{destination: {host: peer, subset: v1}}]
        """,
    )
    eventually(lambda: goes_to(caller, "v1"), 20)
    assert goes_to(caller, "v2", baggage="env=dev")
    assert goes_to(caller, "v1", baggage="env=dev,user=me")  # the whole header, as Istio says
    assert goes_to(caller, "v2", user="bob")
    assert goes_to(caller, "v1", user="xbob")
    assert goes_to(caller, "v1", user="ab")
    assert goes_to(caller, "v3", lane="test-7")
    assert goes_to(caller, "v3", canary="whatever")
    assert goes_to(caller, "v1", lane="other")


def test_calls_go_by_their_method(shop: Mesh, caller: kitex_peers.Client) -> None:
    rules(
        shop,
        """
        - match: [{uri: {exact: /interop.Peer/Other}}]
          route: [{destination: {host: peer, subset: v2}}]
        - route: [{destination: {host: peer, subset: v3}}]
        """,
    )
    eventually(lambda: goes_to(caller, "v2", method="Other"), 20)
    assert goes_to(caller, "v3", method="Call")


def test_what_kitex_cannot_test_takes_no_call(shop: Mesh, caller: kitex_peers.Client) -> None:
    rules(
        shop,
        """
        - match:
            - withoutHeaders: {lane: {exact: dev}}
            - uri: {prefix: /interop}
            - queryParams: {a: {exact: b}}
          route: [{destination: {host: peer, subset: v1}}]
        - route: [{destination: {host: peer, subset: v3}}]
        """,
    )
    eventually(lambda: goes_to(caller, "v3"), 20)
    assert goes_to(caller, "v3", lane="dev")


@pytest.mark.parametrize(
    ("weights", "share"), [((80, 20), 0.8), ((1, 1), 0.5), ((2, 98), 0.02), ((0, 100), 0)]
)
def test_calls_are_shared_out_by_weight(
    shop: Mesh, caller: kitex_peers.Client, weights: tuple[int, int], share: float
) -> None:
    rules(
        shop,
        f"""
        - match: [{{headers: {{round: {{exact: "{weights}"}}}}}}]
          route:
            - {{destination: {{host: peer, subset: v1}}, weight: {weights[0]}}}
            - {{destination: {{host: peer, subset: v2}}, weight: {weights[1]}}}
        - route: [{{destination: {{host: peer, subset: v3}}}}]
        """,
    )
    eventually(lambda: "v3" not in answers(caller, 8, round=str(weights)), 20)
    made = answers(caller, 1000, round=str(weights))
    assert set(made) <= {"v1", "v2"}
    assert made["v1"] / 1000 == pytest.approx(share, abs=0.065)  # four deviations of a fair draw
    assert bool(made["v1"]) == bool(share)


def test_a_change_of_rules_fails_no_call(shop: Mesh, caller: kitex_peers.Client) -> None:
    for version in ("v1", "v2", "v3", "v1"):
        rules(shop, f"- route: [{{destination: {{host: peer, subset: {version}}}}}]")
        seen: Counter[str] = Counter()

        def moved(to: str = version, seen: Counter[str] = seen) -> bool:
            now = answers(caller, 20)
            seen.update(now)
            return set(now) == {to}

        eventually(moved, 20)
        assert set(seen) <= set(VERSIONS)


def test_calls_follow_the_endpoints(shop: Mesh, caller: kitex_peers.Client) -> None:
    rules(shop, "- route: [{destination: {host: peer}}]")
    eventually(lambda: goes_to(caller, *VERSIONS), 20)
    (shop.directory / "peers.yaml").write_text(workloads(("v1", "v3")))
    eventually(lambda: goes_to(caller, "v1", "v3", count=30), 30)
    (shop.directory / "peers.yaml").write_text(workloads(VERSIONS))
    eventually(lambda: goes_to(caller, *VERSIONS, count=30), 30)


def test_kitex_refuses_nothing_of_what_it_is_told(shop: Mesh, caller: kitex_peers.Client) -> None:
    assert caller.call().answer
    nodes = shop.meltemi("status", "-o", "json").json()["nodes"]
    (node,) = [node for node in nodes if node["client"] == "kitex"]
    assert node["workload"]
    assert set(node["types"]) == {
        "NameTable",
        "Listener",
        "RouteConfiguration",
        "Cluster",
        "ClusterLoadAssignment",
    }
    assert [of["refused"] for of in node["types"].values()] == [[]] * 5


ROUTER = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: peer, namespace: shop}
spec:
  hosts: [peer.shop.svc.cluster.local]
  routes:
  - name: lane
    match: {attributes: {lane: {exact: dev}}}
    route: [{destination: {host: peer.shop.svc.cluster.local, subset: v3}}]
  - name: other
    match: {attributes: {method: {exact: Other}}}
    route: [{destination: {host: peer.shop.svc.cluster.local, subset: v2}}]
  - name: rest
    route: [{destination: {host: peer.shop.svc.cluster.local, subset: v1}}]
"""


def test_a_meta_router_decides_by_method_and_metadata(shop: Mesh) -> None:
    (shop.directory / "router.yaml").write_text(ROUTER)
    environment = _json(shop.directory / "environment.json")
    with kitex_peers.routed("peer:9081", environment) as made:
        eventually(lambda: goes_to(made, "v1"), 20)
        assert goes_to(made, "v2", method="Other")
        assert goes_to(made, "v3", method="Other", lane="dev")
        assert goes_to(made, "v1", lane="develop")
    (shop.directory / "router.yaml").unlink()


def test_a_short_timeout_of_a_route_ends_a_call(shop: Mesh, caller: kitex_peers.Client) -> None:
    rules(shop, "- timeout: 0.001s\n  route: [{destination: {host: peer, subset: v1}}]")
    eventually(lambda: "timeout" in caller.call("x" * 4_000_000).error, 20)
    rules(shop, "- timeout: 5s\n  route: [{destination: {host: peer, subset: v1}}]")
    eventually(lambda: caller.call("x" * 4_000_000).answer, 20)


def test_what_kitex_would_get_can_be_seen_offline(shop: Mesh, tmp_path: Path) -> None:
    copied = shutil.copytree(
        shop.directory, tmp_path / "shop", ignore=shutil.ignore_patterns(".meltemi")
    )
    found = shop.meltemi(
        "dump-xds", "--config", str(copied), "--node", "front-0.shop", "--client", "kitex",
        "-o", "json", mesh=False,
    ).json()  # fmt: skip
    assert "peer.shop.svc.cluster.local:9080" in found["routes"]
    assert set(found["names"]) == {"peer.shop.svc.cluster.local"}

"""gRPC's own client (`xds:///`), without a sidecar, takes the rules of VirtualServices."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from mesh import Mesh, eventually, running

HERE = Path(__file__).parent
VERSIONS = ("v1", "v2", "v3")
TARGET = "xds:///ratings:9080"
SERVICE = "shop.Ratings"

MESH = """
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec:
  selector: {app: ratings}
  ports: [{name: grpc-ratings, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: shop}
spec:
  host: ratings
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
    - {name: v3, labels: {version: v3}}
"""
WORKLOAD = """
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {{name: ratings-{0}, namespace: shop, labels: {{app: ratings, version: {0}}}}}
spec:
  command: [python, grpc_ratings.py]
  env: {{VERSION: {0}}}
  ports: [{{name: grpc-ratings, port: 9080}}]
  mesh: none
"""


@dataclass
class Answers:
    answers: dict[str, int]
    took_s: float


class Caller:
    """A process of its own: gRPC reads its bootstrap file once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(
        self,
        method: str = "Get",
        count: int = 1,
        timeout_s: float = 20,
        target: str = TARGET,
        path: str = "",
        **metadata: str,
    ) -> Answers:
        order = {
            "target": target,
            "method": path or f"/{SERVICE}/{method}",
            "count": count,
            "timeout_s": timeout_s,
            "metadata": [(name.replace("_", "-"), value) for name, value in metadata.items()],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Answers(**json.loads(self._process.stdout.readline()))

    def goes_to(self, *versions: str, count: int = 10, **more: Any) -> bool:
        """Whether every call is answered, and by all of `versions` and no other."""
        return set(self.call(count=count, **more).answers) == set(versions)


@contextlib.contextmanager
def calling(mesh: Mesh, directory: Path, **labels: str) -> Iterator[Caller]:
    status = mesh.meltemi("status", "-o", "json").json()
    bootstrap = directory / f"bootstrap-{'-'.join(labels.values())}.json"
    node = {"GENERATOR": "grpc", "NAMESPACE": "shop", "LABELS": labels}
    creds = [{"type": "insecure"}]
    server = {"server_uri": status["xds"], "channel_creds": creds, "server_features": ["xds_v3"]}
    written = {"xds_servers": [server], "node": {"id": "a-caller", "metadata": node}}
    bootstrap.write_text(json.dumps(written))
    process = subprocess.Popen(
        [sys.executable, str(HERE / "grpc_caller.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("grpc") / "shop"
    directory.mkdir()
    shutil.copy(HERE / "grpc_ratings.py", directory)
    workloads = "".join(WORKLOAD.format(version) for version in VERSIONS)
    (directory / "mesh.yaml").write_text(MESH + workloads)
    with running(directory) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def caller(shop: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with calling(shop, tmp_path_factory.mktemp("caller"), app="front") as made:
        rules(shop, "- route: [{destination: {host: ratings}}]")
        eventually(lambda: made.goes_to(*VERSIONS), 30)
        yield made


def rules(mesh: Mesh, http: str) -> None:
    """The http routes that hold from now on."""
    text = """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: ratings, namespace: shop}
        spec:
          hosts: [ratings]
          http:
        """
    rule = dedent(text) + indent(dedent(http), "    ")
    (mesh.directory / "rule.yaml").write_text(rule)
    found = mesh.meltemi("validate", "-f", str(mesh.directory), mesh=False)
    assert found.code == 0, found.out


def test_calls_go_by_their_headers_and_without_one_by_the_last_route(
    shop: Mesh, caller: Caller
) -> None:
    rules(
        shop,
        """
        - match: [{headers: {lane: {exact: dev}}}, {headers: {user: {regex: "a|b.*"}}}]
          route: [{destination: {host: ratings, subset: v2}}]
        - match: [{headers: {lane: {prefix: test-}}}, {headers: {canary: {}}}]
          route: [{destination: {host: ratings, subset: v3}}]
        - route: [{destination: {host: ratings, subset: v1}}]
        """,
    )
    eventually(lambda: caller.goes_to("v1"), 20)
    assert caller.goes_to("v2", lane="dev")
    assert caller.goes_to("v2", user="bob")
    assert caller.goes_to("v1", user="xbob")
    assert caller.goes_to("v3", lane="test-7")
    assert caller.goes_to("v3", canary="whatever")
    assert caller.goes_to("v1", lane="other")


def test_calls_go_by_their_method(shop: Mesh, caller: Caller) -> None:
    rules(
        shop,
        """
        - match: [{uri: {exact: /shop.Ratings/Get}, method: {exact: POST}}]
          route: [{destination: {host: ratings, subset: v1}}]
        - match: [{uri: {regex: "/shop[.]R.*/(List|Find)"}}]
          route: [{destination: {host: ratings, subset: v2}}]
        - match: [{uri: {prefix: /SHOP}, ignoreUriCase: true}]
          route: [{destination: {host: ratings, subset: v3}}]
        """,
    )
    eventually(lambda: caller.goes_to("v2", method="Find"), 20)
    assert caller.goes_to("v1", method="Get")
    assert caller.goes_to("v3", method="FindAll")
    (answer,) = caller.call(path="/other.Service/Get").answers
    assert answer.startswith("UNAVAILABLE"), answer


def test_a_header_that_is_not_there_is_none_of_those_that_must_not_be(
    shop: Mesh, caller: Caller
) -> None:
    rules(
        shop,
        """
        - match: [{withoutHeaders: {lane: {exact: dev}, user: {}}}]
          route: [{destination: {host: ratings, subset: v1}}]
        - route: [{destination: {host: ratings, subset: v3}}]
        """,
    )
    eventually(lambda: caller.goes_to("v3", user="me"), 20)
    assert caller.goes_to("v1")
    assert caller.goes_to("v1", lane="other")
    assert caller.goes_to("v3", lane="dev")
    assert caller.goes_to("v3", lane="other", user="me")


def test_calls_are_shared_out_by_weight(shop: Mesh, caller: Caller) -> None:
    rules(
        shop,
        """
        - route:
            - {destination: {host: ratings, subset: v1}, weight: 80}
            - {destination: {host: ratings, subset: v3}, weight: 20}
            - {destination: {host: ratings, subset: v2}, weight: 0}
        """,
    )
    eventually(lambda: caller.goes_to("v1", "v3", count=60), 20)
    shares = caller.call(count=1000).answers
    assert set(shares) == {"v1", "v3"}
    assert 0.74 < shares["v1"] / 1000 < 0.86  # five standard deviations of a fair draw


def test_what_fails_is_tried_again_as_often_as_the_rule_says(shop: Mesh, caller: Caller) -> None:
    to = "route: [{destination: {host: ratings, subset: v1}}]"
    rules(shop, f"- retries: {{attempts: 1, retryOn: unavailable}}\n  {to}")
    eventually(lambda: "v1" not in caller.call("Flaky").answers, 20)
    rules(shop, f"- retries: {{attempts: 3, retryOn: '5xx,unavailable'}}\n  {to}")
    eventually(lambda: caller.goes_to("v1", count=1, method="Flaky"), 20)
    rules(shop, f"- retries: {{attempts: 0}}\n  {to}")
    eventually(lambda: "v1" not in caller.call("Flaky").answers, 20)
    rules(shop, f"- {to}")  # Istio's default: two more
    eventually(lambda: caller.goes_to("v1", count=1, method="Flaky"), 20)


def test_a_call_ends_at_the_timeout_of_its_route(shop: Mesh, caller: Caller) -> None:
    rules(
        shop,
        """
        - match: [{uri: {exact: /shop.Ratings/Slow}}]
          timeout: 4s
          route: [{destination: {host: ratings, subset: v2}}]
        - route: [{destination: {host: ratings, subset: v2}}]
        """,
    )
    eventually(lambda: caller.goes_to("v2"), 20)
    slow = caller.call("Slow")
    (answer,) = slow.answers
    assert answer.startswith("DEADLINE_EXCEEDED")
    assert 1.5 < slow.took_s < 4.5  # grpcio 1.85 ends calls up to 2 s before a route's timeout
    assert caller.goes_to("v2", count=1, path="/other.Service/Slow")


def test_a_change_of_rules_fails_no_call(shop: Mesh, caller: Caller) -> None:
    rules(shop, "- route: [{destination: {host: ratings, subset: v1}}]")
    eventually(lambda: caller.goes_to("v1"), 20)
    seen: list[dict[str, int]] = []
    done = threading.Event()

    def calls() -> None:
        while not done.is_set():
            seen.append(caller.call(count=20).answers)

    def served_by(version: str, before: int) -> bool:
        return {version: 20} in seen[before:]

    thread = threading.Thread(target=calls)
    thread.start()
    try:
        for version in ("v2", "v3", "v1", "v2"):
            rules(shop, f"- route: [{{destination: {{host: ratings, subset: {version}}}}}]")
            before = len(seen)
            eventually(partial(served_by, version, before), 20)
    finally:
        done.set()
        thread.join()
    assert {answer for answers in seen for answer in answers} == set(VERSIONS)


@pytest.mark.parametrize("target", ["ratings.shop:9080", "ratings.shop.svc.cluster.local:9080"])
def test_the_rule_holds_for_every_name_of_the_service(
    shop: Mesh, caller: Caller, target: str
) -> None:
    rules(shop, "- route: [{destination: {host: ratings, subset: v3}}]")
    eventually(lambda: caller.goes_to("v3"), 20)
    eventually(lambda: caller.goes_to("v3", target=f"xds:///{target}"), 20)


def test_rules_for_some_callers_hold_for_them_alone(
    shop: Mesh, caller: Caller, tmp_path: Path
) -> None:
    rules(
        shop,
        """
        - match: [{sourceLabels: {app: back}, sourceNamespace: shop}]
          route: [{destination: {host: ratings, subset: v2}}]
        - match: [{sourceNamespace: elsewhere}]
          route: [{destination: {host: ratings, subset: v1}}]
        - route: [{destination: {host: ratings, subset: v3}}]
        """,
    )
    eventually(lambda: caller.goes_to("v3"), 20)
    with calling(shop, tmp_path, app="back") as back:
        eventually(lambda: back.goes_to("v2"), 20)
    assert caller.goes_to("v3")


def test_what_the_client_lacks_is_left_out_and_nothing_is_refused(
    shop: Mesh, caller: Caller
) -> None:
    rules(
        shop,
        """
        - match: [{queryParams: {a: {exact: b}}}]
          route: [{destination: {host: ratings, subset: v1}}]
        - match: [{headers: {gone: {}}}]
          redirect: {uri: /elsewhere}
        - headers: {request: {set: {x: "1"}}}
          retries: {attempts: 9, perTryTimeout: 1s, retryOn: gateway-error}
          route: [{destination: {host: ratings, subset: v2}}]
        """,
    )
    eventually(lambda: caller.goes_to("v2"), 20)
    (answer,) = caller.call(gone="1").answers
    assert answer.startswith("UNAVAILABLE")
    nodes = shop.meltemi("status", "-o", "json").json()["nodes"]
    (types,) = [node["types"] for node in nodes if node["client"] == "grpc"]
    assert set(types) == {"Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"}
    assert [of["refused"] for of in types.values()] == [[]] * 4


LANE = """
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: shop, namespace: shop}
spec: {baggageKey: env, services: [{host: ratings}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev, namespace: shop}
spec: {group: shop, labels: {version: v3}}
"""


def test_a_marked_call_is_in_its_lane_and_comes_back_when_its_instance_does(
    shop: Mesh, caller: Caller
) -> None:
    rules(shop, "- route: [{destination: {host: ratings}}]")
    lane, workloads = shop.directory / "lane.yaml", shop.directory / "mesh.yaml"
    everything = workloads.read_text()
    try:
        lane.write_text(LANE)
        eventually(lambda: caller.goes_to("v1", "v2"), 20)
        assert caller.goes_to("v3", baggage="user=7;p=1, env=dev")
        assert caller.goes_to("v1", "v2", baggage="user=7;env=dev,env=development")
        workloads.write_text(everything.removesuffix(WORKLOAD.format("v3")))
        eventually(lambda: caller.goes_to("v1", "v2", baggage="env=dev"), 20)
        workloads.write_text(everything)
        eventually(lambda: caller.goes_to("v3", baggage="env=dev"), 30)
    finally:
        workloads.write_text(everything)
        lane.unlink(missing_ok=True)

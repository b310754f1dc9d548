"""`meltemi explain`: which way a request would take, and why not another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from meltemi.analysis.explain import Question, explain, lines
from meltemi.analysis.places import UnknownNameError
from meltemi.config import Source, build, errors, load
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

HOST = "hello.shop.svc.cluster.local"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  selector: {app: hello}
  ports: [{name: raw, port: 70}, {name: tcp-metaprotocol-thrift, port: 90, targetPort: 9090}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner, namespace: shop}
spec:
  hosts: [partner.example.com]
  exportTo: ["."]
  resolution: DNS
  ports: [{name: tcp-thrift, number: 90, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello, namespace: shop}
spec:
  host: hello
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
  - {name: secret, labels: {version: v1}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
"""
WORKLOADS = """
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello-v1, namespace: shop, labels: {app: hello, version: v1}}
spec: {command: [python, server.py], replicas: 2, ports: [{name: thrift, port: 9090}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello-v2, namespace: shop, labels: {app: hello, version: v2}}
spec: {command: [python, server.py], ports: [{name: thrift, port: 9090}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: client, namespace: front}
spec: {command: [python, client.py], replicas: 2}
"""


def to(*destinations: str) -> list[dict[str, Any]]:
    """`v1=20`: a subset and its weight."""
    return [
        {
            "destination": {"host": HOST, **({"subset": subset} if subset else {})},
            "weight": int(weight),
        }
        for subset, _, weight in (each.partition("=") for each in destinations)
    ]


def rule(*routes: dict[str, Any], export_to: list[str] | None = None) -> str:
    spec: dict[str, Any] = {"hosts": [HOST], "routes": list(routes)}
    if export_to:
        spec["exportTo"] = export_to
    return json.dumps(
        {
            "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
            "kind": "MetaRouter",
            "metadata": {"name": "rule", "namespace": "shop"},
            "spec": spec,
        }
    )


def documents(*rules: str) -> str:
    return "\n---\n".join((SERVICES, WORKLOADS, *rules))


def mesh(*rules: str) -> Mesh:
    loaded = load([Source("mesh.yaml", documents(*rules))])
    made, issues = build(loaded.objects, Addresses())
    assert errors([*loaded.issues, *issues]) == []
    return made


def ask(of: Mesh, service: str = "hello", **question: Any) -> dict[str, Any]:
    return explain(of, Question(service=service, **question))


LANE = {"name": "lane", "match": {"attributes": {"lane": {"exact": "gray"}}}, "route": to("v2=100")}
SPLIT = {
    "name": "split",
    "match": {"attributes": {"method": {"prefix": "say"}}},
    "route": to("v1=20", "v2=80"),
}


def test_the_changes_of_the_chosen_route_are_told() -> None:
    changing = LANE | {
        "requestMutation": [{"key": "a", "value": "b"}, {"key": "c", "remove": True}],
        "responseMutation": [{"key": "d", "value": "e"}],
    }
    made = mesh(rule(changing, SPLIT))
    answer = ask(made, attributes={"lane": "gray"})
    assert answer["request_mutation"] == [{"key": "a", "value": "b"}, {"key": "c", "remove": True}]
    assert answer["response_mutation"] == [{"key": "d", "value": "e"}]
    told = [line.strip() for line in lines(answer) if line.strip().startswith("on the ")]
    assert told == [
        "on the request: sets a=b", "on the request: removes c", "on the reply: sets d=e",
    ]  # fmt: skip
    other = ask(made, attributes={"method": "sayHello"})
    assert (other["request_mutation"], other["response_mutation"]) == ([], [])
    raw = ask(made, port=70)
    assert (raw["request_mutation"], raw["response_mutation"]) == ([], [])


def test_it_names_the_route_that_matches_and_why_each_earlier_one_did_not() -> None:
    answer = ask(mesh(rule(LANE, SPLIT)), attributes={"method": "sayHello", "lane": "blue"})
    assert answer["rule"] == "shop/rule"
    assert answer["route"] == "split"
    assert [(each["name"], each["matched"]) for each in answer["routes"]] == [
        ("lane", False),
        ("split", True),
    ]
    (reason,) = answer["routes"][0]["reasons"]
    assert "lane" in reason
    assert "blue" in reason
    assert "gray" in reason


def test_it_stops_at_the_route_that_matches() -> None:
    answer = ask(mesh(rule(LANE, SPLIT)), attributes={"method": "sayHello", "lane": "gray"})
    assert [each["name"] for each in answer["routes"]] == ["lane"]


def test_it_has_the_clusters_their_shares_and_their_endpoints() -> None:
    answer = ask(mesh(rule(SPLIT)), attributes={"method": "sayHello"})
    assert [(each["name"], each["weight"], each["percent"]) for each in answer["clusters"]] == [
        (f"outbound|90|v1|{HOST}", 20, 20.0),
        (f"outbound|90|v2|{HOST}", 80, 80.0),
    ]
    workloads = [[e["workload"] for e in each["endpoints"]] for each in answer["clusters"]]
    assert workloads == [["hello-v1.shop"] * 2, ["hello-v2.shop"]]
    assert all(e["address"].endswith(":9090") for e in answer["clusters"][0]["endpoints"])
    assert answer["problem"] is None


def test_without_a_rule_the_default_route_is_taken() -> None:
    answer = ask(mesh())
    assert (answer["rule"], answer["route"]) == (None, "default")
    assert [len(each["endpoints"]) for each in answer["clusters"]] == [3]


def test_a_request_that_no_route_matches_is_an_error_to_the_caller() -> None:
    answer = ask(mesh(rule(LANE)), attributes={"lane": "blue"})
    assert (answer["route"], answer["clusters"]) == (None, [])
    assert answer["problem"] == "no route of MetaRouter shop/rule matches"


@pytest.mark.parametrize(
    ("destination", "problem"),
    [
        ({"host": HOST, "subset": "v3"}, "it has no endpoint"),
        ({"host": HOST, "subset": "v9"}, f"no DestinationRule of {HOST} has a subset v9"),
        ({"host": HOST, "port": {"number": 99}}, f"{HOST} has no port 99"),
        ({"host": "nobody.shop"}, "there is no service nobody.shop"),
        ({"host": "partner.example.com"}, "namespace front does not see partner.example.com"),
        (
            {"host": HOST, "subset": "secret"},
            "tls mode ISTIO_MUTUAL of the DestinationRule is not there yet",
        ),
    ],
)
def test_it_says_why_a_destination_cannot_be_reached(
    destination: dict[str, Any], problem: str
) -> None:
    one = mesh(rule({"name": "r", "route": [{"destination": destination}]}))
    answer = ask(one, "hello.shop", caller="client.front")
    assert [each["problem"] for each in answer["clusters"]] == [problem]


def test_names_that_must_be_resolved_are_said_to_be_refused() -> None:
    answer = ask(mesh(), "partner.example.com", namespace="shop")
    assert "resolution DNS is not there yet" in answer["clusters"][0]["problem"]


def test_a_port_without_a_codec_has_no_routes_but_endpoints() -> None:
    answer = ask(mesh(rule(SPLIT)), port=70)
    assert (answer["protocol"], answer["routes"], answer["route"]) == ("tcp", [], None)
    assert [each["name"] for each in answer["clusters"]] == [f"outbound|70||{HOST}"]


def test_a_rule_counts_only_for_callers_that_see_it() -> None:
    private = mesh(rule(LANE, export_to=["."]))
    assert ask(private, "hello", namespace="shop")["rule"] == "shop/rule"
    assert ask(private, "hello", caller="client.front")["rule"] is None


def test_all_replicas_of_the_caller_are_named() -> None:
    answer = ask(mesh(), "hello.shop", caller="client.front")
    assert (answer["from"], answer["namespace"]) == (["client-0.front", "client-1.front"], "front")


def test_a_caller_is_found_in_the_only_namespace_that_has_it() -> None:
    assert ask(mesh(), "hello.shop", caller="hello-v2")["from"] == ["hello-v2-0.shop"]
    assert ask(mesh(), "hello.shop", caller="client-1")["namespace"] == "front"
    with pytest.raises(UnknownNameError, match="client is no replica") as raised:
        ask(mesh(), "hello.shop", caller="client", namespace="shop")
    assert "client-0.front" in raised.value.hint


def test_a_caller_that_several_namespaces_have_is_asked_for() -> None:
    more = WORKLOADS.split("---")[2].replace("namespace: front", "namespace: shop")
    several = mesh(more)
    with pytest.raises(UnknownNameError, match="client is in several namespaces") as raised:
        ask(several, "hello.shop", caller="client")
    assert "client-0.front, client-0.shop" in str(raised.value)
    assert ask(several, "hello.shop", caller="client", namespace="shop")["namespace"] == "shop"


@pytest.mark.parametrize("name", ["hello", "hello.shop", "hello.shop.svc", HOST, HOST.upper()])
def test_a_service_has_many_names(name: str) -> None:
    assert ask(mesh(), name)["service"] == HOST


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"service": "nope"}, "there is no service nope"),
        ({"port": 1}, f"{HOST} has no port 1"),
        ({"caller": "nobody"}, "nobody is no replica of this mesh"),
        (
            {"service": "partner.example.com", "caller": "client.front"},
            "namespace front does not see partner.example.com",
        ),
    ],
)
def test_what_is_not_there_is_said_with_what_is(question: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message) as raised:
        ask(mesh(), **question)
    assert raised.value.hint


def test_the_answer_reads_well() -> None:
    answer = ask(mesh(rule(LANE, SPLIT)), attributes={"method": "sayHello"})
    text = "\n".join(lines(answer))
    for part in (
        f"{HOST}:90 (thrift), called by any workload in namespace shop",
        "rule: MetaRouter shop/rule",
        "skips route lane",
        "takes route split",
        f"20 % to outbound|90|v1|{HOST}",
        "hello-v2.shop",
    ):
        assert part in text


@pytest.mark.parametrize("body", [None, [], {}, {"service": 1}, {"service": "x", "port": "1"}])
def test_a_question_that_is_none_is_a_value_error(body: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Question.from_json(body)


def meltemi(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meltemi", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_asks_files(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(documents(rule(LANE, SPLIT)))
    done = meltemi("hello", "--config", str(tmp_path), "--attr", "Method=sayHello", "-o", "json")
    assert (done.returncode, ": error:" in done.stderr) == (0, False)
    assert json.loads(done.stdout)["route"] == "split"


def test_the_command_warns_of_names_that_the_files_do_not_have(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(documents(rule({"name": "r", "route": to("v9=100")})))
    done = meltemi("hello", "--config", str(tmp_path))
    assert done.returncode == 0
    assert f"warning: spec.routes[0].route[0].destination.subset: no DestinationRule of {HOST}" in (
        done.stderr
    )


def test_the_command_fails_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(documents())
    done = meltemi("nope", "--config", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: there is no service nope")
    assert meltemi("hello", "--config", str(tmp_path), "--attr", "method").returncode == 2
    assert meltemi("hello", "--mesh", str(tmp_path)).returncode == 3

"""`meltemi explain` of a Dubbo service: by its interface, and with what the engine cannot read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from meltemi.analysis.explain import Question, explain, lines
from meltemi.config import Source, build, errors, load
from meltemi.model import Mesh
from meltemi.model.addresses import Addresses

HOST = "demo.example.com"
INTERFACE = "org.example.DemoService"
SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: demo, namespace: shop, annotations: {interface: org.example.DemoService}}
spec:
  hosts: [demo.example.com]
  ports: [{name: tcp-metaprotocol-dubbo, number: 20880, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {ports: [{name: dubbo, port: 20880}, {name: thrift, port: 9090}]}
"""


def mesh(*routes: dict[str, Any]) -> Mesh:
    rule = {
        "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
        "kind": "MetaRouter",
        "metadata": {"name": "rule", "namespace": "shop"},
        "spec": {"hosts": [HOST], "routes": list(routes)},
    }
    documents = [SERVICES, *([json.dumps(rule)] if routes else [])]
    loaded = load([Source("mesh.yaml", "\n---\n".join(documents))])
    made, issues = build(loaded.objects, Addresses())
    assert errors([*loaded.issues, *issues]) == []
    return made


def route(name: str, **attributes: str) -> dict[str, Any]:
    wanted = {each: {"exact": value} for each, value in attributes.items()}
    match = {"match": {"attributes": wanted}} if wanted else {}
    return {"name": name, **match, "route": [{"destination": {"host": HOST}}]}


def ask(of: Mesh, service: str = HOST, **question: Any) -> dict[str, Any]:
    return explain(of, Question(service=service, **question))


@pytest.mark.parametrize("name", [HOST, "demo", "demo.shop", "DEMO", INTERFACE])
def test_a_service_is_named_by_its_interface_too(name: str) -> None:
    answer = ask(mesh(), name)
    assert (answer["service"], answer["interface"]) == (HOST, INTERFACE)


def test_it_asks_with_the_interface_that_the_host_stands_for() -> None:
    one = mesh(route("ours", interface=INTERFACE, method="sayHello"), route("rest"))
    answer = ask(one, attributes={"method": "sayHello"})
    assert (answer["route"], answer["attributes"]["interface"]) == ("ours", INTERFACE)
    assert any("annotation" in note for note in answer["notes"])
    other = ask(one, attributes={"method": "sayHello", "interface": "org.example.Other"})
    assert other["route"] == "rest"
    assert not any("annotation" in note for note in other["notes"])


@pytest.mark.parametrize(
    ("routes", "way"),
    [
        ((), "it takes route default"),
        ((route("a", method="x"), route("rest")), "it takes route rest"),
        ((route("a", method="x"),), "it is answered with an error"),
        ((route("a", serialization="fastjson2"), route("rest")), "it takes route a"),
    ],
)
def test_it_notes_which_way_a_request_takes_that_is_not_read(
    routes: tuple[dict[str, Any], ...], way: str
) -> None:
    answer = ask(mesh(*routes), attributes={"method": "x"})
    note = answer["notes"][-1]
    assert "hessian2" in note and note.endswith(way)
    assert f"note: {note}" in list(lines(answer))


def test_a_request_in_another_serialization_has_no_interface() -> None:
    one = mesh(route("ours", interface=INTERFACE), route("java", serialization="java"))
    answer = ask(one, attributes={"serialization": "java"})
    assert (answer["route"], answer["attributes"]) == ("java", {"serialization": "java"})
    assert len(answer["notes"]) == 1 and answer["notes"][0].endswith("it takes route java")


def test_only_a_service_that_says_so_stands_for_an_interface() -> None:
    answer = ask(mesh(), "plain")
    assert (answer["interface"], answer["attributes"]) == (None, {})
    assert len(answer["notes"]) == 1
    thrift = ask(mesh(), "plain", port=9090)
    assert (thrift["notes"], thrift["protocol"]) == ([], "thrift")

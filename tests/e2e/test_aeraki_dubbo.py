"""Aeraki's end-to-end cases for Dubbo, with its own YAML, and exact where it counts roughly."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dubbo_wire
import pytest
import yaml
from dubbo_wire import Reply, Request
from hello_mesh import answered_by, put_programs
from mesh import Mesh, eventually, running
from protocols import DubboConnection

NAMESPACE = "metaprotocol"
DATA = "aeraki/test/e2e/metaprotocol/testdata"
INTERFACE = "org.apache.dubbo.samples.basic.api.DemoService"
HOST = INTERFACE.lower()
CONSUMER = f"dubbo-sample-consumer.{NAMESPACE}"
PORT = 20880


def workload(name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "meltemi.io/v1alpha1",
        "kind": "Workload",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    }


def provider(version: str, group: str) -> dict[str, Any]:
    """As the Deployment of `metaprotocol-sample.yaml` has it."""
    labels = {"app": "dubbo-sample-provider", "version": version, "service_group": group}
    ports = [{"name": "tcp-metaprotocol-dubbo", "port": PORT}]
    command = ["python", "server.py"]
    return workload(f"dubbo-sample-provider-{version}", labels, command=command, ports=ports)


@pytest.fixture(scope="module")
def demo(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("aeraki") / "mesh"
    put_programs(directory)
    consumer = {"app": "dubbo-sample-consumer"}
    workloads = [
        provider("v1", "user"),
        provider("v2", "batchjob"),
        workload("dubbo-sample-consumer", consumer, command=["sleep", "infinity"]),
    ]
    (directory / "workloads.yaml").write_text(yaml.safe_dump_all(workloads))
    with running(directory) as mesh:
        apply(mesh, cases / DATA / "serviceentry.yaml", cases / DATA / "destinationrule.yaml")
        yield mesh


@pytest.fixture
def consumer(demo: Mesh) -> Iterator[DubboConnection]:
    """One connection from the consumer's place."""
    name = HOST.upper().replace(".", "_")
    host = demo.environment(CONSUMER)[f"{name}_SERVICE_HOST"]
    with DubboConnection(host, PORT) as connection:
        assert isinstance(connection, DubboConnection)
        yield connection
    demo.meltemi("delete", "MetaRouter", "test-metaprotocol-route", "-n", NAMESPACE)


def apply(mesh: Mesh, *files: Path) -> None:
    """In force when it returns: a sidecar's workers report their numbers between two turns."""
    named = [word for file in files for word in ("-f", str(file))]
    done = mesh.meltemi("apply", *named, "-n", NAMESPACE)
    assert done.code == 0, done.err
    mesh.sidecar(CONSUMER, "/stats").raise_for_status()


def say_hello(consumer: DubboConnection, number: int = 1, method: str = "sayHello") -> Reply:
    return consumer.ask(Request(INTERFACE, method, ("aeraki",), id=number))


def versions(consumer: DubboConnection, calls: int, method: str = "sayHello") -> Counter[str]:
    replies = [say_hello(consumer, number, method) for number in range(calls)]
    assert [reply.id for reply in replies if not reply.failed] == list(range(calls))
    return Counter(answered_by(str(reply.value)) for reply in replies)


def test_version_routing_sends_every_call_to_the_version_that_the_rule_names(
    demo: Mesh, cases: Path, consumer: DubboConnection
) -> None:
    assert versions(consumer, 6) == {"v1": 3, "v2": 3}
    for version in ("v1", "v2"):
        apply(demo, cases / DATA / f"metarouter-{version}.yaml")
        assert versions(consumer, 40) == {version: 40}


@pytest.mark.parametrize("kind", ["exact", "prefix", "regex"])
def test_attribute_routing_takes_the_first_rule_whose_whole_value_matches(
    demo: Mesh, cases: Path, consumer: DubboConnection, kind: str
) -> None:
    apply(demo, cases / DATA / f"metarouter-attribute-{kind}.yaml")
    assert versions(consumer, 40) == {"v2": 40}  # `sayHello01` is for v1, and is not `sayHello`
    other = say_hello(consumer, method="sayBye")
    if kind == "prefix":
        assert answered_by(str(other.value)) == "v2"
    else:
        assert (other.status, "route" in other.reason) == (dubbo_wire.SERVICE_NOT_FOUND, True)


def test_percentage_routing_sends_8_of_40_calls_to_the_version_of_20_percent(
    demo: Mesh, cases: Path, consumer: DubboConnection
) -> None:
    """Aeraki's own test takes 4 to 12. The first choices of a rule are always the same: a walk in
    steps of the golden ratio."""
    apply(demo, cases / DATA / "metarouter-traffic-splitting.yaml")
    assert versions(consumer, 40) == {"v1": 8, "v2": 32}
    for _ in range(5):
        assert 7 <= versions(consumer, 40)["v1"] <= 9


def test_subsets_are_named_the_same_by_rules_clusters_and_endpoints(
    demo: Mesh, cases: Path, consumer: DubboConnection
) -> None:
    hashed = cases / DATA / "consistent-hash-lb"
    try:
        apply(demo, hashed / "destinationrule.yaml", hashed / "metarouter-sample.yaml")
        assert versions(consumer, 10).total() == 10
        dump = demo.sidecar(CONSUMER, "/config_dump?include_eds").json()["configs"]
    finally:
        apply(demo, cases / DATA / "destinationrule.yaml")
    cluster = f"outbound|{PORT}|sample|{HOST}"
    routes = [
        route["route"]
        for config in dump
        for entry in config.get("dynamic_route_configs", [])
        for host in entry["route_config"].get("virtual_hosts", [])
        if entry["route_config"]["name"] == f"{HOST}_{PORT}"
        for route in host["routes"]
    ]
    assert [route["cluster"] for route in routes] == [cluster]
    clusters = [
        entry["cluster"]["name"]
        for config in dump
        for entry in config.get("dynamic_active_clusters", [])
    ]
    assert cluster in clusters
    assert not [name for name in clusters if "|v1|" in name or "|v2|" in name]
    [endpoints] = [
        entry["endpoint_config"]
        for config in dump
        for entry in config.get("dynamic_endpoint_configs", [])
        if entry["endpoint_config"]["cluster_name"] == cluster
    ]
    assert sum(len(locality["lb_endpoints"]) for locality in endpoints["endpoints"]) == 2


@pytest.fixture
def hashed(demo: Mesh, cases: Path) -> Iterator[None]:
    """Aeraki's rules for consistent hashing: by `method`."""
    rules = cases / DATA / "consistent-hash-lb"
    apply(demo, rules / "destinationrule.yaml", rules / "metarouter-sample.yaml")
    yield
    apply(demo, cases / DATA / "destinationrule.yaml")


def test_consistent_hashing_sends_10_of_10_calls_of_a_method_to_one_provider(
    hashed: None, consumer: DubboConnection
) -> None:
    assert list(versions(consumer, 10).values()) == [10]
    used = set()
    for number in range(20):
        replies = versions(consumer, 10, f"sayHello{number}")
        assert list(replies.values()) == [10], number
        used |= set(replies)
    assert used == {"v1", "v2"}


def test_consistent_hashing_gives_the_same_provider_after_the_sidecar_was_killed(
    demo: Mesh, hashed: None, consumer: DubboConnection
) -> None:
    methods = [f"sayHello{number}" for number in range(12)]
    before = [versions(consumer, 1, method) for method in methods]
    name = f"dubbo-sample-consumer-0.{NAMESPACE} sidecar"
    old = demo.processes()[name]["pid"]
    os.kill(old, signal.SIGKILL)
    eventually(lambda: demo.processes()[name]["pid"] not in (None, old), 15)
    host = demo.environment(CONSUMER)[f"{HOST.upper().replace('.', '_')}_SERVICE_HOST"]
    eventually(lambda: _is_answered(host), 20)
    with DubboConnection(host, PORT) as again:
        assert isinstance(again, DubboConnection)
        assert [versions(again, 1, method) for method in methods] == before


def test_explain_names_the_provider_that_a_method_goes_to(
    demo: Mesh, hashed: None, consumer: DubboConnection
) -> None:
    addresses = {
        instance["address"]: version
        for version in ("v1", "v2")
        for instance in demo.workloads()[f"dubbo-sample-provider-{version}.{NAMESPACE}"][
            "instances"
        ]
    }
    for number in range(8):
        method = f"sayHello{number}"
        question = ("explain", HOST, "--from", CONSUMER, "--attr", f"method={method}")
        [cluster] = demo.meltemi(*question, "-o", "json").json()["clusters"]
        assert (cluster["balancer"], cluster["hashed_by"]) == ("RING_HASH", ["attribute method"])
        expected = addresses[cluster["endpoint"].rpartition(":")[0]]
        assert list(versions(consumer, 3, method)) == [expected]


def _is_answered(host: str) -> bool:
    try:
        with DubboConnection(host, PORT) as connection:
            assert isinstance(connection, DubboConnection)
            return not say_hello(connection).failed
    except (OSError, EOFError):
        return False


def test_the_local_limit_lets_2_of_10_calls_through_and_says_why_not_the_others(
    demo: Mesh, cases: Path, consumer: DubboConnection
) -> None:
    apply(demo, cases / DATA / "metarouter-local-ratelimit.yaml")
    demo.sidecar(f"dubbo-sample-provider-v1.{NAMESPACE}", "/stats").raise_for_status()
    replies = [say_hello(consumer, number) for number in range(10)]
    assert [reply.id for reply in replies] == list(range(10))
    assert [reply.failed for reply in replies] == 2 * [False] + 8 * [True]
    assert {answered_by(str(reply.value)) for reply in replies[:2]} == {"v1"}
    for reply in replies[2:]:
        assert reply.status == dubbo_wire.SERVER_ERROR
        assert "rate limit" in reply.reason


@pytest.mark.parametrize(("group", "version"), [("user", "v1"), ("batchjob", "v2")])
def test_a_subset_by_the_label_service_group_is_the_providers_of_that_group(
    demo: Mesh, cases: Path, consumer: DubboConnection, group: str, version: str
) -> None:
    rule = yaml.safe_load((cases / DATA / "metarouter-v1.yaml").read_text())
    rule["spec"]["routes"][0]["route"][0]["destination"]["subset"] = group
    rule["metadata"]["namespace"] = NAMESPACE
    demo.apply(rule)
    demo.sidecar(CONSUMER, "/stats")
    assert versions(consumer, 10) == {version: 10}


def test_header_mutation_gives_the_provider_attachments_that_nobody_sent(
    demo: Mesh, cases: Path, consumer: DubboConnection
) -> None:
    """Aeraki's own test looks for `key: foo1 value: bar1` in the provider's log."""
    sent = Request(INTERFACE, "attachments", attachments={"foo": "old", "mine": "kept"})
    before = consumer.ask(sent).value
    assert isinstance(before, dict)
    apply(demo, cases / DATA / "metarouter-header-mutation.yaml")
    assert consumer.ask(sent).value == {**before, "foo": "bar", "foo1": "bar1"}

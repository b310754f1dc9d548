"""Objects of several files: each is there once, and documents without a namespace get one."""

from __future__ import annotations

import time

from conftest import Load, Said
from meltemi import config
from meltemi.model import ObjectRef
from meltemi.model.addresses import Addresses

ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {0}, namespace: {1}}}
spec: {{address: {2}}}
"""
ROUTER = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: {0}, namespace: {1}}}
spec:
  hosts: [{2}]
  routes: [{{route: [{{destination: {{host: x.y}}}}]}}]
"""


def test_an_object_in_two_files_is_an_error_that_names_both_and_the_first_counts(
    load: Load, said: Said
) -> None:
    found = load(one=ENTRY.format("x", "ns", "1.1.1.1"), two=ENTRY.format("x", "ns", "2.2.2.2"))
    assert said(found) == ["error duplicate-object metadata.name"]
    (issue,) = found.issues
    assert (issue.file, issue.line) == ("two.yaml", 4)
    assert "one.yaml:2" in issue.message
    assert "two.yaml:2" in issue.message
    (item,) = found.objects
    assert item.spec.address == "1.1.1.1"


def test_the_one_that_was_there_before_counts_wherever_its_file_stands() -> None:
    first = config.read(config.Source("z.yaml", ENTRY.format("x", "ns", "1.1.1.1")))
    copy = config.read(config.Source("a.yaml", ENTRY.format("x", "ns", "2.2.2.2")))
    ref = ObjectRef("WorkloadEntry", "ns", "x")
    found = config.combine([copy, first], {ref: "z.yaml"})
    assert [item.file for item in found.objects] == ["z.yaml"]
    assert [issue.file for issue in found.issues] == ["a.yaml"]


def test_twice_in_one_file_is_an_error_too(load: Load, said: Said) -> None:
    found = load(ENTRY.format("x", "a", "1.1.1.1") + "---" + ENTRY.format("x", "a", "1.1.1.1"))
    assert said(found) == ["error duplicate-object metadata.name"]


def test_the_same_name_in_other_namespaces_or_kinds_is_something_else(load: Load) -> None:
    found = load(
        one=ENTRY.format("x", "a", "1.1.1.1"),
        two=ENTRY.format("x", "b", "1.1.1.1"),
        three=ROUTER.format("x", "a", "h.a"),
    )
    assert not found.issues
    assert len(found.objects) == 3


def test_two_rules_for_one_host_are_a_warning_and_the_lowest_name_wins(load: Load) -> None:
    found = load(
        one=ROUTER.format("b", "ns", "Hello.ns"),
        two=ROUTER.format("c", "apps", "hello.ns"),
        three=ROUTER.format("a", "ns", "hello.ns"),
    )
    assert found.valid
    assert [(issue.file, issue.code) for issue in found.issues] == [
        ("three.yaml", "host-taken"),
        ("one.yaml", "host-taken"),
    ]
    assert "apps/c (two.yaml:2)" in found.issues[0].message
    mesh, _ = config.build(found.objects, Addresses())
    rule = mesh.meta_router("hello.ns", "any")
    assert rule is not None
    assert (rule.namespace, rule.name) == ("apps", "c")


def test_documents_without_a_namespace_get_the_given_one(load: Load) -> None:
    text = ENTRY.format("x", "", "1.1.1.1").replace(", namespace: ", "")
    (item,) = load(text, namespace="shop").objects
    assert item.ref == ObjectRef("WorkloadEntry", "shop", "x")
    assert item.raw["metadata"] == {"name": "x", "namespace": "shop"}


def test_a_mesh_with_an_invalid_document_has_the_valid_ones(load: Load, said: Said) -> None:
    found = load(
        ENTRY.format("x", "a", "1.1.1.1") + "---" + ENTRY.format("z", "a", "nope!") + "---\n["
    )
    assert [item.ref.name for item in found.objects] == ["x"]
    assert {issue.code for issue in found.issues} == {"invalid-address", "yaml-syntax"}


def test_a_thousand_documents_load_and_build_in_a_second_of_cpu() -> None:
    sources = [
        config.Source(f"{i}.yaml", ROUTER.format(f"r{i}", "ns", f"h{i}.ns") * 1) for i in range(500)
    ]
    sources += [
        config.Source(f"w{i}.yaml", ENTRY.format(f"w{i}", "ns", "1.1.1.1")) for i in range(500)
    ]
    best_s = 9.0
    for _ in range(3):
        start = time.process_time()
        found = config.load(sources)
        config.build(found.objects, Addresses())
        best_s = min(best_s, time.process_time() - start)
    assert len(found.objects) == 1000
    assert best_s < 1.0

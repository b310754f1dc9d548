"""Names that nothing in the mesh has are warned of, with the nearest; none is an error."""

from __future__ import annotations

import pytest
from conftest import Load
from meltemi import config
from meltemi.config import Issue, references
from meltemi.model.addresses import Addresses

MESH = """
    apiVersion: v1
    kind: Service
    metadata: {name: hello, namespace: shop}
    spec: {ports: [{name: thrift, port: 90}]}
    ---
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: hello, namespace: shop}
    spec:
      host: "*.shop.svc.cluster.local"
      subsets: [{name: v1, labels: {version: v1}}, {name: canary, labels: {version: v2}}]
    """


def check(load: Load, host: str, destination: str, namespace: str = "shop") -> list[Issue]:
    """Of a MetaRouter beside the mesh."""
    router = f"""
    apiVersion: metaprotocol.aeraki.io/v1alpha1
    kind: MetaRouter
    metadata: {{name: a, namespace: {namespace}}}
    spec: {{hosts: [{host}], routes: [{{route: [{{destination: {destination}}}]}}]}}
    """
    loaded = load(mesh=MESH, router=router)
    assert loaded.valid, loaded.issues
    mesh, issues = config.build(loaded.objects, Addresses())
    assert issues == []
    return references.check(loaded.objects, mesh)


@pytest.mark.parametrize("host", ["hello", "hello.shop.svc.cluster.local."])
def test_names_that_are_there_are_not_warned_of(load: Load, host: str) -> None:
    assert check(load, host, f"{{host: {host}, subset: v1}}") == []


def test_a_host_that_is_no_service_is_named_with_the_nearest(load: Load) -> None:
    rule, destination = check(load, "helo", "{host: hello.default.svc.cluster.local}")
    assert (rule.severity, rule.code, rule.path) == ("warning", "unknown-host", "spec.hosts[0]")
    assert rule.message.startswith("there is no service helo.shop.svc.cluster.local")
    assert (rule.file, rule.line) == ("router.yaml", 5)
    assert destination.path == "spec.routes[0].route[0].destination.host"
    hint = "did you mean hello.shop.svc.cluster.local?"
    assert (rule.hint, destination.hint) == (hint, hint)


def test_a_host_like_no_other_says_where_to_look(load: Load) -> None:
    issue, _ = check(load, "quark.example.com", "{host: zzz}")
    assert issue.hint == "`meltemi get service -A` lists what there is"


@pytest.mark.parametrize(
    ("subset", "hint"), [("canari", "did you mean canary?"), ("v2", "its subsets: canary, v1")]
)
def test_a_subset_that_no_rule_has_is_named(load: Load, subset: str, hint: str) -> None:
    (issue,) = check(load, "hello", f"{{host: hello, subset: {subset}}}")
    assert (issue.code, issue.hint) == ("unknown-subset", hint)
    assert issue.path == "spec.routes[0].route[0].destination.subset"

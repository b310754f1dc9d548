"""Every error of a document comes at once, at its place, with what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Load, Said
from hypothesis import given
from hypothesis import strategies as st
from meltemi.config import check
from meltemi.config.documents import Document, parse
from meltemi.config.issues import written
from meltemi.config.kinds import KINDS
from meltemi.config.schema.types import Schema

WRONG_EVERYWHERE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: Bad_Name
  labels: {ok: "not ok"}
spec:
  hots: reviews
  trafficPolicy:
    loadBalancer:
      simple: ROUND_ROBBIN
    connectionPool:
      tcp:
        maxConnections: "7"
        connectTimeout: 1 second
  subsets:
  - name: v1
  - name: v1
    labels: {version: 1.10}
  exportTo: [b@d]
"""


def test_every_error_comes_at_once_with_its_place(load: Load) -> None:
    found = [
        (issue.line, issue.column, issue.code, issue.path)
        for issue in load(WRONG_EVERYWHERE).issues
        if issue.severity == "error"
    ]
    assert found == [
        (4, 3, "invalid-name", "metadata.name"),
        (5, 12, "invalid-label", "metadata.labels.ok"),
        (6, 1, "missing-field", "spec.host"),
        (7, 3, "unknown-field", "spec.hots"),
        (10, 7, "bad-value", "spec.trafficPolicy.loadBalancer.simple"),
        (13, 9, "wrong-type", "spec.trafficPolicy.connectionPool.tcp.maxConnections"),
        (14, 9, "bad-duration", "spec.trafficPolicy.connectionPool.tcp.connectTimeout"),
        (17, 5, "duplicate-subset", "spec.subsets[1].name"),
        (18, 14, "wrong-type", "spec.subsets[1].labels.version"),
        (19, 14, "invalid-export", "spec.exportTo[0]"),
    ]


def test_hints_say_what_would_be_right(load: Load) -> None:
    hints = {issue.path: issue.hint for issue in load(WRONG_EVERYWHERE).issues}
    assert hints["spec.hots"] == "did you mean host?"
    assert hints["spec.trafficPolicy.loadBalancer.simple"] == "did you mean ROUND_ROBIN?"
    assert hints["spec.trafficPolicy.connectionPool.tcp.maxConnections"] == "without quotes"
    assert hints["spec.subsets[1].labels.version"] == "put it in quotes"
    assert "1.5s" in hints["spec.trafficPolicy.connectionPool.tcp.connectTimeout"]


SERVICE_ENTRY = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", ["error not-a-mapping"]),
        ("just text\n", ["error not-a-mapping"]),
        ("domain: production\n", ["warning not-kubernetes"]),
        ("kind: Service\n", ["error missing-field apiVersion"]),
        ("apiVersion: v1\n", ["error missing-field kind"]),
        ("apiVersion: 1\nkind: Service\n", ["error missing-field apiVersion"]),
        ("apiVersion: apps/v1\nkind: Deployment\n", ["warning foreign-kind kind"]),
        ("apiVersion: v1\nkind: ConfigMap\n", ["warning foreign-kind kind"]),
        ("apiVersion: v2\nkind: Service\n", ["error unknown-version apiVersion"]),
        (
            "apiVersion: networking.istio.io/v2\nkind: ServiceEntry\n",
            ["error unknown-version apiVersion"],
        ),
        ("apiVersion: networking.istio.io/v1\nkind: DestRule\n", ["error unknown-kind kind"]),
        ("apiVersion: meltemi.io/v1alpha1\nkind: Workloads\n", ["error unknown-kind kind"]),
        (
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n",
            ["warning not-there-yet kind"],
        ),
        (
            "apiVersion: redis.aeraki.io/v1alpha1\nkind: RedisService\nmetadata: {name: a}\n",
            ["warning not-there-yet kind"],
        ),
    ],
)
def test_what_is_not_one_of_our_kinds_is_told_apart(
    load: Load, said: Said, text: str, expected: list[str]
) -> None:
    assert said(load(text)) == expected


def test_a_misspelled_kind_gets_the_nearest_one(load: Load) -> None:
    (issue,) = load("apiVersion: networking.istio.io/v1\nkind: Destinationrules\n").issues
    assert issue.hint == "did you mean DestinationRule?"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("null", ["error missing-field metadata"]),
        ("{}", ["error missing-field metadata.name"]),
        ("{name: ''}", ["error missing-field metadata.name"]),
        ("{generateName: a-}", ["error missing-field metadata.name"]),
        ("{name: 5}", ["error wrong-type metadata.name"]),
        ("{name: a.b-c}", []),
        ("{name: -a}", ["error invalid-name metadata.name"]),
        ("{name: a, namespace: a.b}", ["error invalid-name metadata.namespace"]),
        ("{name: a, nmaespace: b}", ["error unknown-field metadata.nmaespace"]),
        ("{name: a, labels: {a/b/c: d}}", ['error invalid-label metadata.labels["a/b/c"]']),
        ("{name: a, labels: {a: null}}", []),
        ("{name: a, labels: {a: 1}}", ["error wrong-type metadata.labels.a"]),
        ("{name: a, annotations: {x: z}, resourceVersion: '1', managedFields: []}", []),
        (
            "{name: a, annotations: {istio.io/dry-run: 'true'}}",
            ['error invalid-annotation metadata.annotations["istio.io/dry-run"]'],
        ),
    ],
)
def test_metadata_is_checked_as_kubernetes_does(
    load: Load, said: Said, metadata: str, expected: list[str]
) -> None:
    text = f"""
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {metadata}
        spec: {{address: 1.1.1.1}}
        """
    assert said(load(text)) == expected


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("v1 Service", "a.b", False),
        ("v1 Service", "1a", False),
        ("meltemi.io/v1alpha1 Workload", "a.b", False),
        ("meltemi.io/v1alpha1 Workload", "1a", True),
        ("networking.istio.io/v1 ServiceEntry", "1a.b", True),
    ],
)
def test_names_are_those_that_the_kind_allows(load: Load, kind: str, name: str, good: bool) -> None:
    version, word = kind.split()
    found = load(f"apiVersion: {version}\nkind: {word}\nmetadata: {{name: {name}}}\nspec: {{}}\n")
    assert ("invalid-name" not in {issue.code for issue in found.issues}) == good


def test_a_list_is_its_items(load: Load, said: Said) -> None:
    found = load("""
        apiVersion: v1
        kind: List
        items:
        - apiVersion: networking.istio.io/v1
          kind: WorkloadEntry
          metadata: {name: a}
          spec: {address: 1.1.1.1}
        - apiVersion: networking.istio.io/v1
          kind: WorkloadEntry
          metadata: {name: b}
          spec: {adress: 1.1.1.1}
        """)
    assert [item.ref.name for item in found.objects] == ["a"]
    assert said(found) == ["error missing-address spec.address", "error unknown-field spec.adress"]
    assert {issue.line for issue in found.issues} == {12}


def test_a_key_that_is_there_twice_makes_our_kinds_invalid_and_others_suspect(
    load: Load, said: Said
) -> None:
    ours = load("""
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: a}
        spec: {address: 1.1.1.1, address: 2.2.2.2}
        """)
    assert said(ours) == ["error yaml-duplicate-key spec.address"]
    assert not ours.objects
    other = load("apiVersion: apps/v1\nkind: Deployment\nspec: {a: 1, a: 2}\n")
    assert said(other) == ["warning foreign-kind kind", "warning yaml-duplicate-key spec.a"]


def test_an_error_says_the_path_with_odd_keys_in_quotes() -> None:
    assert written(("metadata", "labels", 'a.b/"c')) == 'metadata.labels["a.b/\\"c"]'


def every_field(schema: type[Schema] = Schema) -> set[str]:
    """The names of all fields of all kinds."""
    own = {field.alias or name for name, field in schema.model_fields.items()}
    return own.union(*(every_field(inner) for inner in schema.__subclasses__()))


FIELDS = [*sorted(every_field()), "x"]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70000)
    | st.floats()
    | st.sampled_from(["", "a", "*", "~", ".", "1s", "1.1.1.1", "x.y", "STATIC", "SIMPLE", "a@"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=30,
)


@given(st.sampled_from(sorted(KINDS)), JSON, st.sampled_from([{"name": "a"}, {}, None, 5]))
def test_whatever_a_spec_holds_gives_issues_never_an_exception(
    kind: tuple[str, str], spec: Any, metadata: Any
) -> None:
    group, name = kind
    version = f"{group}/{KINDS[kind].versions[0]}" if group else "v1"
    value = {"apiVersion": version, "kind": name, "metadata": metadata, "spec": spec}
    (template,), _ = parse("a.yaml", "a: 1")
    document = Document("a.yaml", value, template.marks * 10_000)
    (checked,) = check.document(document, "default")
    assert (checked.value is None) == any(i.severity == "error" for i in checked.issues)

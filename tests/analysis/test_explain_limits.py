"""`meltemi explain` says which bucket of a local rate limit a request takes from, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meltemi.analysis.explain import Question, explain, lines
from meltemi.config import Source, build, errors, load
from meltemi.model.addresses import Addresses

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: shop}
spec: {selector: {app: hello}, ports: [{name: thrift, port: 90, targetPort: 9090}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: hello-v1, namespace: shop, labels: {app: hello}}
spec: {command: [a], replicas: 2, ports: [{name: thrift, port: 9090}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: client, namespace: front}
spec: {command: [a]}
"""
RULE = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: rule, namespace: shop, annotations: {meltemi.io/local-rate-limit-side: SIDE}}
spec:
  hosts: [hello.shop.svc.cluster.local]
  exportTo: [EXPORT]
  localRateLimit: {LIMIT}
"""
DEFAULT = "tokenBucket: {maxTokens: 5, fillInterval: 60s}"
CONDITION = (
    "conditions: [{match: {attributes: {method: {exact: sayHello}}},"
    " tokenBucket: {maxTokens: 2, tokensPerFill: 2, fillInterval: 30s}}]"
)


def ask(
    limit: str, *, side: str = "inbound", export: str = "'*'", more: str = "", **attributes: str
) -> dict[str, Any]:
    rule = RULE.replace("LIMIT", limit).replace("SIDE", side).replace("EXPORT", export)
    loaded = load([Source("mesh.yaml", "\n---\n".join(filter(None, (SERVICE, rule, more))))])
    mesh, issues = build(loaded.objects, Addresses())
    assert errors([*loaded.issues, *issues]) == []
    question = Question("hello.shop", caller="client.front", attributes=attributes)
    return explain(mesh, question)


def told(answer: Mapping[str, Any]) -> list[str]:
    """The lines of the limits."""
    every = list(lines(answer))
    first = next(at for at, line in enumerate(every) if line.startswith("local rate limit"))
    return [line for line in every[first:] if " % to " not in line and "127." not in line]


def test_the_first_condition_that_matches_says_the_bucket() -> None:
    answer = ask(f"{DEFAULT}, {CONDITION}", method="sayHello")
    (limit,) = answer["limits"]
    assert limit == {
        "rule": "shop/rule",
        "service": "hello.shop.svc.cluster.local",
        "side": "inbound",
        "conditions": [
            {
                "matched": True,
                "reasons": ['method is "sayHello": method exact "sayHello" holds'],
            }
        ],
        "bucket": "2 requests, and 2 more every 30s",
    }
    assert told(answer) == [
        "local rate limit of MetaRouter shop/rule,"
        " at the workloads of hello.shop.svc.cluster.local",
        "  takes condition 1",
        '    method is "sayHello": method exact "sayHello" holds',
        "  2 requests, and 2 more every 30s",
    ]


def test_what_no_condition_matches_takes_from_the_default_bucket() -> None:
    answer = ask(f"{DEFAULT}, {CONDITION}", method="other")
    assert told(answer)[1:] == [
        "  skips condition 1",
        '    method is "other": method exact "sayHello" does not hold',
        "  5 requests, and 1 more every 60s from the default bucket",
    ]


def test_without_a_default_bucket_it_is_not_limited() -> None:
    answer = ask(CONDITION, method="other")
    assert answer["limits"][0]["bucket"] is None
    assert told(answer)[-1] == "  not limited"


def test_a_limit_on_both_sides_is_met_twice_the_callers_first() -> None:
    answer = ask(DEFAULT, side="both")
    assert [limit["side"] for limit in answer["limits"]] == ["outbound", "inbound"]
    assert told(answer)[0].endswith("at the callers of hello.shop.svc.cluster.local")
    assert [limit["side"] for limit in ask(DEFAULT, side="outbound")["limits"]] == ["outbound"]


def test_a_limit_is_that_of_the_namespace_that_enforces_it() -> None:
    assert [limit["side"] for limit in ask(DEFAULT, side="both", export="shop")["limits"]] == [
        "inbound"
    ]
    assert [limit["side"] for limit in ask(DEFAULT, side="both", export="front")["limits"]] == [
        "outbound"
    ]


def test_the_limit_of_another_service_at_the_same_workloads_is_told_too() -> None:
    other = SERVICE.partition("---")[0].replace("name: hello", "name: other")
    rule = RULE.replace("{LIMIT}", f"{{{DEFAULT}}}").replace("SIDE", "inbound")
    rule = (
        rule.replace("EXPORT", "'*'")
        .replace("name: rule", "name: more")
        .replace("hello.shop", "other.shop")
    )
    answer = ask(CONDITION, more=f"{other}\n---\n{rule}", method="x")
    assert [(limit["rule"], limit["bucket"]) for limit in answer["limits"]] == [
        ("shop/rule", None),
        ("shop/more", "5 requests, and 1 more every 60s"),
    ]

"""The local rate limit of a MetaRouter: what is valid, what it means, who enforces it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.config import references
from meltemi.model import LimitCondition, LocalRateLimit, StringMatch, TokenBucket
from meltemi.model.addresses import Addresses

HOST = "hello.shop.svc.cluster.local"
SIDE = "meltemi.io/local-rate-limit-side"
BUCKET = "{maxTokens: 5, fillInterval: 60s}"
SECOND = 1_000_000_000


def router(limit: str, annotations: str = "") -> str:
    return f"""
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: MetaRouter
        metadata: {{name: a, namespace: shop, annotations: {{{annotations}}}}}
        spec: {{hosts: [{HOST}], localRateLimit: {limit}}}
        """


def made(load: Load, limit: str, annotations: str = "") -> LocalRateLimit:
    found = load(router(limit, annotations))
    assert found.issues == ()
    (rule,) = config.build(found.objects, Addresses())[0].meta_routers
    assert rule.local_rate_limit is not None
    return rule.local_rate_limit


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("{}", ["error missing-field "]),
        ("{conditions: []}", ["error missing-field "]),
        (f"{{tokenBucket: {BUCKET}}}", []),
        ("{tokenBucket: {}}", ["error missing-field .tokenBucket.maxTokens",
                               "error missing-field .tokenBucket.fillInterval"]),
        ("{tokenBucket: {maxTokens: 0, fillInterval: 1s}}",
         ["error bad-value .tokenBucket.maxTokens"]),
        ("{tokenBucket: {maxTokens: 1, tokensPerFill: 0, fillInterval: 1s}}",
         ["error bad-value .tokenBucket.tokensPerFill"]),
        ("{tokenBucket: {maxTokens: 4294967296, fillInterval: 1s}}",
         ["error bad-value .tokenBucket.maxTokens"]),
        ("{tokenBucket: {maxTokens: 1, fillInterval: 0s}}",
         ["error bad-duration .tokenBucket.fillInterval"]),
        ("{tokenBucket: {maxTokens: 1, fillInterval: -1s}}",
         ["error bad-duration .tokenBucket.fillInterval"]),
        ("{tokenBucket: {maxTokens: 1, fillInterval: 5}}",
         ["error wrong-type .tokenBucket.fillInterval"]),
        ("{tokenBucket: {maxTokens: 1, fillInterval: soon}}",
         ["error bad-duration .tokenBucket.fillInterval"]),
        (f"{{conditions: [{{tokenBucket: {BUCKET}}}]}}",
         ["error missing-field .conditions[0].match"]),
        ("{conditions: [{match: {attributes: {method: {exact: a}}}}]}",
         ["error missing-field .conditions[0].tokenBucket"]),
        (f"{{conditions: [{{match: {{attributes: {{a: {{regex: '('}}}}}},"
         f" tokenBucket: {BUCKET}}}]}}",
         ["error bad-regex .conditions[0].match.attributes.a.regex"]),
        (f"{{conditions: [{{match: {{}}, tokenBucket: {BUCKET}}}], tokenBucket: {BUCKET}}}",
         ["warning unreachable-condition .tokenBucket"]),
        (f"{{conditions: [{{match: {{}}, tokenBucket: {BUCKET}}},"
         f" {{match: {{attributes: {{a: {{}}}}}}, tokenBucket: {BUCKET}}}]}}",
         ["warning unreachable-condition .conditions[1]"]),
        (f"{{tokenBuckt: {BUCKET}}}",
         ["error missing-field ", "error unknown-field .tokenBuckt"]),
    ],
)  # fmt: skip
def test_each_part_is_judged_at_its_place(
    load: Load, said: Said, limit: str, expected: list[str]
) -> None:
    at = "spec.localRateLimit"
    found = [line.replace(at, "") for line in said(load(router(limit)))]
    assert sorted(found) == sorted(line.replace(at, "") for line in expected)


def test_the_model_says_what_the_limit_means(load: Load) -> None:
    limit = made(
        load,
        "{tokenBucket: {maxTokens: 5, fillInterval: 1m30s},"
        " conditions: [{match: {attributes: {Method: {exact: sayHello}, user: {}}},"
        " tokenBucket: {maxTokens: 2, tokensPerFill: 3, fillInterval: 1500us}}]}",
    )
    conditions = (("method", StringMatch("exact", "sayHello")), ("user", StringMatch("present")))
    assert limit == LocalRateLimit(
        (LimitCondition(conditions, TokenBucket(2, 3, 1_500_000)),),
        TokenBucket(5, 1, 90 * SECOND),
    )
    assert (limit.inbound, limit.outbound) == (True, False)


@pytest.mark.parametrize("interval", ["1ns", "20ms", "50ms", "1.5s", "876000h"])
def test_any_positive_interval_is_valid(load: Load, interval: str) -> None:
    limit = made(load, f"{{tokenBucket: {{maxTokens: 1, fillInterval: {interval}}}}}")
    assert limit.bucket is not None
    assert limit.bucket.fill_interval_ns > 0


@pytest.mark.parametrize(
    ("side", "inbound", "outbound"),
    [("inbound", True, False), ("outbound", False, True), ("both", True, True)],
)
def test_an_annotation_says_whose_sidecars_limit(
    load: Load, side: str, inbound: bool, outbound: bool
) -> None:
    limit = made(load, f"{{tokenBucket: {BUCKET}}}", f"{SIDE}: {side}")
    assert (limit.inbound, limit.outbound) == (inbound, outbound)


def test_another_side_is_an_error_with_the_nearest(load: Load) -> None:
    (issue,) = load(router(f"{{tokenBucket: {BUCKET}}}", f"{SIDE}: outbond")).issues
    assert (issue.severity, issue.code) == ("error", "bad-value")
    assert issue.path == f'metadata.annotations["{SIDE}"]'
    assert issue.hint == "did you mean outbound?"
    (issue,) = load(router(f"{{tokenBucket: {BUCKET}}}", f"{SIDE}: server")).issues
    assert issue.hint == "one of inbound, outbound, both"


def enforced(load: Load, *, port: str, mesh: str, side: str = "inbound") -> list[str]:
    """What is said of a limit beside a service of one workload."""
    found = load(
        service=f"""
        apiVersion: v1
        kind: Service
        metadata: {{name: hello, namespace: shop}}
        spec: {{selector: {{app: hello}}, ports: [{{name: {port}, port: 90}}]}}
        ---
        apiVersion: meltemi.io/v1alpha1
        kind: Workload
        metadata: {{name: hello, namespace: shop, labels: {{app: hello}}}}
        spec: {{command: [a], mesh: {mesh}, ports: [{{name: {port}, port: 90}}]}}
        """,
        rule=router(f"{{tokenBucket: {BUCKET}}}", f"{SIDE}: {side}"),
    )
    assert found.valid, found.issues
    built, _ = config.build(found.objects, Addresses())
    return [
        f"{issue.code} {issue.path}: {issue.message}"
        for issue in references.check(found.objects, built)
    ]


def test_a_limit_that_nothing_enforces_is_warned_of(load: Load) -> None:
    at = "limit-not-enforced spec.localRateLimit:"
    assert enforced(load, port="thrift", mesh="sidecar") == []
    assert enforced(load, port="thrift", mesh="none") == [
        f"{at} no workload of {HOST} has a sidecar: nothing is limited"
    ]
    assert enforced(load, port="thrift", mesh="none", side="outbound") == []
    assert enforced(load, port="raw", mesh="sidecar") == [
        f"{at} no port of {HOST} has a protocol that is read here: nothing is limited"
    ]


@pytest.mark.parametrize(
    "file",
    [
        "test/e2e/metaprotocol/testdata/metarouter-local-ratelimit.yaml",
        "demo/metaprotocol-thrift/metarouter-local-ratelimit.yaml",
        "demo/metaprotocol-dubbo/metarouter-local-ratelimit.yaml",
        "demo/metaprotocol-dubbo-app-level/metarouter-local-ratelimit.yaml",
        "demo/metaprotocol-qza/metarouter-rate-limit.yaml",
    ],
)
def test_aerakis_limits_are_valid_without_a_warning(cases: Path, file: str) -> None:
    path = cases / "aeraki" / file
    found = config.load([config.Source(path.name, path.read_bytes())], "meta-x")
    assert found.issues == ()
    (rule,) = config.build(found.objects, Addresses())[0].meta_routers
    limit = rule.local_rate_limit
    assert limit is not None
    assert limit.bucket is not None
    assert (limit.inbound, limit.outbound) == (True, False)

# ruff: noqa: E501 - one case a line
"""A MetaRouter is judged by Aeraki's rules as they are documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.model import Destination, MetaRoute, StringMatch, WeightedDestination
from meltemi.model.addresses import Addresses

HOST = "hello.default.svc.cluster.local"
TO = f"route: [{{destination: {{host: {HOST}}}}}]"


def router(spec: str) -> str:
    return f"""
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: MetaRouter
        metadata: {{name: a}}
        spec: {spec}
        """


def matching(attributes: str) -> str:
    return router(f"{{hosts: [{HOST}], routes: [{{match: {{attributes: {attributes}}}, {TO}}}]}}")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{routes: []}", ["error missing-field spec.hosts", "error empty-router spec"]),
        (f"{{hosts: [a, b], routes: [{{{TO}}}]}}", ["error bad-value spec.hosts"]),
        (f"{{hosts: [a_b.c], routes: [{{{TO}}}]}}", ["error invalid-host spec.hosts[0]"]),
        (f"{{hosts: ['*.c'], routes: [{{{TO}}}]}}", ["error invalid-host spec.hosts[0]"]),
        (f"{{hosts: [{HOST}]}}", ["error empty-router spec"]),
        (f"{{hosts: [{HOST}.], routes: [{{{TO}}}]}}", []),
        (
            f"{{hosts: [{HOST}], routes: [{{name: a}}]}}",
            ["error missing-field spec.routes[0].route"],
        ),
        (
            f"{{hosts: [{HOST}], routes: [{{{TO}}}], exportTo: ['*', b]}}",
            ["error invalid-export spec.exportTo"],
        ),
        (f"{{hosts: [{HOST}], routes: [{{{TO}}}], exportTo: ['~']}}", []),
        (
            f"{{hosts: [{HOST}], routes: [{{{TO}}}], exportTo: [., default]}}",
            ["error duplicate-value spec.exportTo[1]"],
        ),
        (
            f"{{hosts: [{HOST}], routes: [{{name: all, {TO}}}, {{name: b, {TO}}}]}}",
            ["warning unreachable-route spec.routes[1]"],
        ),
        (
            f"{{hosts: [{HOST}], routes: [{{{TO}, mirrorPercentage: {{value: 5}}}}]}}",
            [
                "error needs-field spec.routes[0].mirrorPercentage",
                "warning not-there-yet spec.routes[0].mirrorPercentage",
            ],
        ),
        (
            f"{{hosts: [{HOST}], routes: [{{{TO}, requestMutation: [{{key: a, value: ''}}]}}]}}",
            ["error bad-value spec.routes[0].requestMutation[0].value"],
        ),
        (
            f"{{hosts: [{HOST}], localRateLimit: {{}}}}",
            ["error missing-field spec.localRateLimit"],
        ),
        (
            f"{{hosts: [{HOST}], localRateLimit: {{tokenBucket: {{maxTokens: 5, fillInterval: 60s}}}}}}",
            [],
        ),
        (
            f"{{hosts: [{HOST}], globalRateLimit: {{domain: a, rateLimitService: b,"
            " descriptors: [{property: a, descriptorKey: b}]}}",
            ["warning not-there-yet spec.globalRateLimit"],
        ),
        (
            f"{{hosts: [{HOST}], gateways: [istio-system/gw], routes: [{{{TO}}}]}}",
            ["warning not-there-yet spec.gateways"],
        ),
    ],
)
def test_the_rule_as_a_whole(load: Load, said: Said, spec: str, expected: list[str]) -> None:
    assert said(load(router(spec))) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("{method: {exact: sayHello}, x: {prefix: a}, z: {regex: 'a.*'}}", []),
        ("{method: {}, x: {exact: ''}}", []),
        ("{method: null}", ["error wrong-type spec.routes[0].match.attributes.method"]),
        ("{'': {}}", ['error missing-field spec.routes[0].match.attributes[""]']),
        ("{a: {exact: b, prefix: c}}", ["error one-of spec.routes[0].match.attributes.a"]),
        ("{a: {regex: ''}}", ["error bad-regex spec.routes[0].match.attributes.a.regex"]),
        ("{a: {regex: 'a('}}", ["error bad-regex spec.routes[0].match.attributes.a.regex"]),
        ("{a: {regex: '*'}}", ["error bad-regex spec.routes[0].match.attributes.a.regex"]),
        ("{a: {regex: '(?=a)b'}}", ["error bad-regex spec.routes[0].match.attributes.a.regex"]),
        ("{a: {suffix: b}}", ["error unknown-field spec.routes[0].match.attributes.a.suffix"]),
    ],
)
def test_conditions_of_a_route(
    load: Load, said: Said, attributes: str, expected: list[str]
) -> None:
    assert said(load(matching(attributes))) == expected


def test_a_wrong_condition_is_told_the_nearest(load: Load) -> None:
    (issue,) = load(matching("{method: {regexp: x}}")).issues
    assert (issue.message, issue.hint) == ("unknown field regexp", "did you mean regex?")
    (issue,) = load(matching("{method: {wild: x}}")).issues
    assert issue.hint == "known fields: exact, prefix, regex"


def test_a_short_host_is_a_service_of_the_rules_own_namespace(load: Load) -> None:
    found = load("""
        apiVersion: metaprotocol.aeraki.io/v1alpha1
        kind: MetaRouter
        metadata: {name: a, namespace: shop}
        spec: {hosts: [Hello], routes: [{route: [{destination: {host: Stock, subset: v1}}]}]}
        """)
    (rule,) = config.build(found.objects, Addresses())[0].meta_routers
    assert rule.host == "hello.shop.svc.cluster.local"
    (to,) = rule.routes[0].destinations
    assert to.destination.host == "stock.shop.svc.cluster.local"


def test_a_short_and_a_full_host_are_one_host(load: Load, said: Said) -> None:
    short = router(f"{{hosts: [hello], routes: [{{{TO}}}]}}")
    full = router(f"{{hosts: [{HOST}], routes: [{{{TO}}}]}}").replace("name: a", "name: b")
    assert said(load(x=short, y=full)) == ["warning host-taken spec.hosts[0]"]


def test_a_regular_expression_is_judged_by_the_engine_and_says_why(load: Load) -> None:
    (issue,) = load(matching("{a: {regex: 'x{1000}{1000}{1000}'}}")).issues
    assert issue.code == "bad-regex"
    assert "\n" not in issue.message
    (issue,) = load(matching("{a: {regex: 'a(b'}}")).issues
    assert "unclosed group" in issue.message


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((None,), []),
        ((0,), []),
        ((100,), []),
        ((101,), ["error bad-weights spec.routes[0].route[0].weight"]),
        ((20, 80), []),
        ((20, 70), ["error bad-weights spec.routes[0].route"]),
        ((None, 100), []),
        ((50, 60), ["error bad-weights spec.routes[0].route"]),
    ],
)
def test_weights_of_several_destinations_add_up_to_100(
    load: Load, said: Said, weights: tuple[int | None, ...], expected: list[str]
) -> None:
    parts = [
        f"{{destination: {{host: {HOST}}}{'' if weight is None else f', weight: {weight}'}}}"
        for weight in weights
    ]
    text = router(f"{{hosts: [{HOST}], routes: [{{route: [{', '.join(parts)}]}}]}}")
    assert said(load(text)) == expected


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("{}", "missing-field"),
        ("{host: ''}", "invalid-host"),
        ("{host: '*.a'}", "invalid-host"),
        ("{host: a.b, subset: a_b}", "invalid-subset"),
        ("{host: a.b, port: {}}", "missing-field"),
        ("{host: a.b, port: {number: 0}}", "bad-value"),
        ("{host: a.b, port: 80}", "wrong-type"),
    ],
)
def test_destinations_that_cannot_be(load: Load, destination: str, code: str) -> None:
    text = router(f"{{hosts: [{HOST}], routes: [{{route: [{{destination: {destination}}}]}}]}}")
    assert [issue.code for issue in load(text).issues] == [code]


def test_the_model_says_what_the_rule_means(load: Load) -> None:
    found = load(
        router(f"""
          hosts: [Hello.default.svc.cluster.local.]
          exportTo: [.]
          routes:
          - name: split
            match:
              attributes: {{Method: {{exact: sayHello}}, user: {{}}, id: {{exact: ""}}, x: {{regex: a+}}}}
            route:
            - destination: {{host: {HOST}, subset: v1, port: {{number: 9090}}}}
              weight: 20
            - destination: {{host: {HOST}}}
              weight: 80
          - route:
            - destination: {{host: {HOST}}}
              weight: 7
        """)
    )
    assert not found.issues
    mesh, _ = config.build(found.objects, Addresses())
    (rule,) = mesh.meta_routers
    assert (rule.host, rule.export_to) == (HOST, (".",))
    assert rule.routes == (
        MetaRoute(
            "split",
            (
                ("method", StringMatch("exact", "sayHello")),
                ("user", StringMatch("present")),
                ("id", StringMatch("present")),
                ("x", StringMatch("regex", "a+")),
            ),
            (
                WeightedDestination(Destination(HOST, "v1", 9090), 20),
                WeightedDestination(Destination(HOST), 80),
            ),
        ),
        MetaRoute("", (), (WeightedDestination(Destination(HOST), 100),)),
    )


def test_aerakis_thrift_demo_is_valid_document_by_document(cases: Path) -> None:
    folder = cases / "aeraki" / "demo" / "metaprotocol-thrift"
    files = sorted(folder.rglob("*.yaml"))
    assert len(files) >= 10
    for path in files:
        found = config.load([config.Source(path.name, path.read_bytes())], "meta-thrift")
        assert not config.errors(found.issues), path
        assert found.issues or path.name.startswith(("metarouter", "traffic", "destination")), path


def test_aerakis_demos_and_tests_are_accepted_but_for_templates(cases: Path) -> None:
    files = [
        path
        for part in ("demo", "test")
        for path in sorted((cases / "aeraki" / part).rglob("*.yaml"))
        if "${" not in path.read_text()
    ]
    assert len(files) > 70
    for path in files:
        found = config.load([config.Source(path.name, path.read_bytes())], "meta-x")
        assert not config.errors(found.issues), path


@pytest.mark.parametrize("field", ["requestMutation", "responseMutation"])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("[]", []),
        ("[{key: a, value: b}, {key: c, remove: true}, {key: d, value: e, remove: false}]", []),
        ("[{key: a}]", ["error missing-field [0].value"]),
        ("[{key: a, remove: false}]", ["error missing-field [0].value"]),
        ("[{value: b}]", ["error missing-field [0].key"]),
        ("[{key: a, value: b, remove: true}]", ["error one-of [0]"]),
        ("[{key: a, value: b}, {key: A, remove: true}]", ["error one-of [1].key"]),
        ("[{key: a, value: b}, {key: A, value: c}]", ["warning duplicate-value [1].key"]),
        ("[{key: a, value: 5}]", ["error wrong-type [0].value"]),
        ('[{key: a, value: "b\\nc"}]', ["error bad-value [0].value"]),
        ('[{key: "a\\0", value: b}]', ["error bad-value [0].key"]),
        (f"[{{key: a, value: {'x' * 16_384}}}]", []),
        (f"[{{key: a, value: {'x' * 16_385}}}]", ["error bad-value [0].value"]),
        ("[{key: a, valeu: b, remove: true}]", ["error unknown-field [0].valeu"]),
        ("[null, 5]", ["error wrong-type [0]", "error wrong-type [1]"]),
    ],
)
def test_changes_of_attributes(
    load: Load, said: Said, field: str, changes: str, expected: list[str]
) -> None:
    found = said(load(router(f"{{hosts: [{HOST}], routes: [{{{TO}, {field}: {changes}}}]}}")))
    assert [line.replace(f"spec.routes[0].{field}", "") for line in found] == expected


def test_a_rule_is_told_that_no_change_reaches_what_stands_in_the_call(
    load: Load, said: Said
) -> None:
    changes = "[{key: Method, value: a}, {key: interface, remove: true}, {key: path, value: b}]"
    for field, expected in (("requestMutation", [0, 1]), ("responseMutation", [])):
        found = said(load(router(f"{{hosts: [{HOST}], routes: [{{{TO}, {field}: {changes}}}]}}")))
        assert found == [f"warning no-effect spec.routes[0].{field}[{n}].key" for n in expected]


def test_changes_of_attributes_come_to_the_model_in_their_order(load: Load) -> None:
    changes = "requestMutation: [{key: Foo, value: bar}, {key: b, remove: true}]"
    loaded = load(router(f"{{hosts: [{HOST}], routes: [{{{TO}, {changes}}}]}}"))
    mesh, _ = config.build(loaded.objects, Addresses())
    (route,) = mesh.meta_routers[0].routes
    assert (route.request_mutation, route.response_mutation) == ((("Foo", "bar"), ("b", None)), ())

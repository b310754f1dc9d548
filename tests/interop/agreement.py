"""The table: rules, requests, and who may answer each with which share.

Endpoints: `a` is v1, `b` is v2, `c` and `d` are v3. A rule is the `http` of a VirtualService or the
`routes` of a MetaRouter; each row has a host of its own, called `HOST` in its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

VERSIONS: Final = {"a": "v1", "b": "v2", "c": "v3", "d": "v3"}
"""Of the endpoints."""
REFUSED: Final = ""
"""Who answers where no endpoint may: the client, with an error."""
HELLO: Final = "/hello.HelloService/sayHello"
WAIT: Final = "/hello.HelloService/wait"


@dataclass(frozen=True)
class Request:
    """One call; its method in Thrift is the last part of the path."""

    path: str = HELLO
    headers: tuple[tuple[str, str], ...] = ()
    http_method: str = "POST"


@dataclass(frozen=True)
class Case:
    """`shares` sum to 1. `sticky`: one of them answers all, the same one to every client that
    has the same endpoints."""

    request: Request
    shares: Mapping[str, float]
    sticky: bool = False


@dataclass(frozen=True)
class Row:
    name: str
    kind: str
    """VirtualService or MetaRouter."""
    rule: str
    cases: tuple[Case, ...]
    policy: str = "{loadBalancer: {simple: LEAST_REQUEST}}"
    """The trafficPolicy of the host's DestinationRule."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Of the endpoints, 1 where it is not said."""
    localities: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"{self.name}.mesh"


ALL: Final = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
V1: Final = {"a": 1.0}
V2: Final = {"b": 1.0}
V3: Final = {"c": 0.5, "d": 0.5}
NOBODY: Final = {REFUSED: 1.0}


def to(version: str) -> str:
    return f"route: [{{destination: {{host: HOST, subset: {version}}}}}]"


def with_headers(**headers: str) -> Request:
    return Request(headers=tuple((name.replace("_", "-"), v) for name, v in headers.items()))


def lanes(**shares: Mapping[str, float]) -> tuple[Case, ...]:
    """Calls by the value of their header `lane`; `none`: without it."""
    return tuple(
        Case(Request() if value == "none" else with_headers(lane=value), share)
        for value, share in shares.items()
    )


def matched(condition: str, kind: str) -> str:
    """`condition` of `lane` leads to v2, all else to v1."""
    if kind == "MetaRouter":
        name = f"{{name: chosen, match: {{attributes: {{lane: {condition}}}}}, {to('v2')}}}"
        return f"- {name}\n- {{name: rest, {to('v1')}}}"
    return f"- {{match: [{{headers: {{lane: {condition}}}}}], {to('v2')}}}\n- {{{to('v1')}}}"


def conditions() -> tuple[Row, ...]:
    """Every kind of condition, in both kinds of rules."""
    cases = {
        "exact": ("{exact: dev}", lanes(none=V1, dev=V2, Dev=V1, dev2=V1)),
        "prefix": ("{prefix: de}", lanes(none=V1, dev=V2, xde=V1, de=V2)),
        "regex": ("{regex: 'd.v|x+'}", lanes(none=V1, dev=V2, xx=V2, devx=V1, xdev=V1)),
        "present": ("{}", lanes(none=V1, dev=V2)),
    }
    return tuple(
        Row(f"{name}-{kind[0].lower()}", kind, matched(condition, kind), of)
        for name, (condition, of) in cases.items()
        for kind in ("VirtualService", "MetaRouter")
    )


def weighted(kind: str) -> str:
    shares = (("v1", 70), ("v2", 10), ("v3", 20), ("v4", 0))
    to_each = ", ".join(
        f"{{weight: {weight}, destination: {{host: HOST, subset: {version}}}}}"
        for version, weight in shares
    )
    name = "name: split, " if kind == "MetaRouter" else ""
    return f"- {{{name}route: [{to_each}]}}"


WEIGHTED: Final = (Case(Request(), {"a": 0.7, "b": 0.1, "c": 0.1, "d": 0.1}),)
MISSING: Final = "route: [{destination: {host: nowhere.mesh}}]"
BAGGAGE: Final = "env=dev,user=ada"
KEYS: Final = tuple(f"user-{number}" for number in range(6))
STICKY: Final = tuple(Case(with_headers(user=key), ALL, sticky=True) for key in KEYS)
BY_USER: Final = "{loadBalancer: {consistentHash: {httpHeaderName: user}}}"

TABLE: Final = (
    *conditions(),
    Row("whole-v", "VirtualService", "- route: [{destination: {host: HOST}}]", lanes(none=ALL)),
    Row(
        "whole-m",
        "MetaRouter",
        "- {name: all, route: [{destination: {host: HOST}}]}",
        lanes(none=ALL),
    ),
    Row("weights-v", "VirtualService", weighted("VirtualService"), WEIGHTED),
    Row("weights-m", "MetaRouter", weighted("MetaRouter"), WEIGHTED),
    Row(
        "without-v",
        "VirtualService",
        f"- {{match: [{{withoutHeaders: {{lane: {{exact: dev}}, user: {{}}}}}}], {to('v1')}}}\n"
        f"- {{{to('v3')}}}",
        (
            *lanes(none=V1, dev=V3, other=V1),
            Case(with_headers(user="ada"), V3),
            Case(with_headers(lane="other", user="ada"), V3),
        ),
    ),
    Row(
        "all-of-m",
        "MetaRouter",
        "- {name: first, match: {attributes: "
        f"{{method: {{exact: sayHello}}, lane: {{prefix: d}}, user: {{}}}}}}, {to('v2')}}}\n"
        f"- {{name: rest, {to('v1')}}}",
        (
            Case(with_headers(lane="dev", user="ada"), V2),
            *lanes(none=V1, dev=V1),
            Case(Request(WAIT, (("lane", "dev"), ("user", "ada"))), V1),
        ),
    ),
    Row(
        "any-of-v",
        "VirtualService",
        "- match: [{headers: {lane: {exact: dev}, user: {regex: 'a.*'}}}, {headers: {canary: {}}}]"
        f"\n  {to('v2')}\n- {{{to('v1')}}}",
        (
            Case(with_headers(lane="dev", user="ada"), V2),
            Case(with_headers(lane="dev", user="bob"), V1),
            Case(with_headers(canary="x"), V2),
            *lanes(none=V1, dev=V1),
        ),
    ),
    Row(
        "whole-header-v",
        "VirtualService",
        f"- {{match: [{{headers: {{baggage: {{exact: 'env=dev'}}}}}}], {to('v2')}}}\n"
        f"- {{match: [{{headers: {{baggage: {{regex: '.*env=dev.*'}}}}}}], {to('v3')}}}\n"
        f"- {{{to('v1')}}}",
        (
            Case(with_headers(baggage="env=dev"), V2),
            Case(with_headers(baggage=BAGGAGE), V3),
            Case(with_headers(baggage="env=prod"), V1),
            Case(Request(), V1),
        ),
    ),
    Row(
        "paths-v",
        "VirtualService",
        f"- {{match: [{{uri: {{exact: {HELLO}}}}}], {to('v1')}}}\n"
        f"- {{match: [{{uri: {{prefix: /HELLO.}}, ignoreUriCase: true}}], {to('v2')}}}\n"
        f"- {{match: [{{uri: {{regex: '/other[.].+/(Get|List)'}}}}], {to('v3')}}}",
        (
            Case(Request(HELLO), V1),
            Case(Request(WAIT), V2),
            Case(Request("/other.Service/List"), V3),
            Case(Request("/other.Service/ListAll"), NOBODY),
            Case(Request("/Other.Service/List"), NOBODY),
        ),
    ),
    Row(
        "methods-m",
        "MetaRouter",
        f"- {{name: first, match: {{attributes: {{method: {{exact: wait}}}}}}, {to('v2')}}}\n"
        f"- {{name: rest, {to('v3')}}}",
        (Case(Request(HELLO), V3), Case(Request(WAIT), V2)),
    ),
    Row(
        "methods-by-regex-m",
        "MetaRouter",
        f"- {{name: a, match: {{attributes: {{method: {{regex: 'wa.*|none'}}}}}}, {to('v2')}}}\n"
        f"- {{name: rest, {to('v3')}}}",
        (Case(Request(HELLO), V3), Case(Request(WAIT), V2)),
    ),
    Row(
        "http-methods-v",
        "VirtualService",
        f"- {{match: [{{method: {{exact: GET}}}}], {to('v2')}}}\n"
        f"- {{match: [{{method: {{regex: 'P(OS|U)T'}}}}], {to('v3')}}}\n- {{{to('v1')}}}",
        (
            Case(Request(), V3),
            Case(Request(http_method="GET"), V2),
            Case(Request(http_method="PUT"), V3),
            Case(Request(http_method="DELETE"), V1),
        ),
    ),
    Row(
        "first-of-several-v",
        "VirtualService",
        f"- {{match: [{{headers: {{lane: {{prefix: d}}}}}}], {to('v1')}}}\n"
        f"- {{match: [{{headers: {{lane: {{exact: dev}}}}}}], {to('v2')}}}\n"
        f"- {{match: [{{headers: {{lane: {{}}}}}}], {to('v3')}}}",
        lanes(dev=V1, d=V1, other=V3, none=NOBODY),
    ),
    Row(
        "first-of-several-m",
        "MetaRouter",
        f"- {{name: first, match: {{attributes: {{lane: {{prefix: d}}}}}}, {to('v1')}}}\n"
        f"- {{name: second, match: {{attributes: {{lane: {{exact: dev}}}}}}, {to('v2')}}}\n"
        f"- {{name: third, match: {{attributes: {{lane: {{}}}}}}, {to('v3')}}}",
        lanes(dev=V1, d=V1, other=V3, none=NOBODY),
    ),
    Row(
        "nobody-there-v",
        "VirtualService",
        f"- {{match: [{{headers: {{lane: {{exact: empty}}}}}}], {to('v4')}}}\n- {{{to('v2')}}}",
        lanes(empty=NOBODY, none=V2),
    ),
    Row(
        "nobody-there-m",
        "MetaRouter",
        f"- {{name: first, match: {{attributes: {{lane: {{exact: empty}}}}}}, {to('v4')}}}\n"
        f"- {{name: second, match: {{attributes: {{lane: {{exact: unknown}}}}}}, {to('v5')}}}\n"
        f"- {{name: third, match: {{attributes: {{lane: {{exact: none-such}}}}}}, {MISSING}}}\n"
        f"- {{name: rest, {to('v2')}}}",
        (
            *lanes(empty=NOBODY, unknown=NOBODY, none=V2),
            Case(with_headers(lane="none-such"), NOBODY),
        ),
    ),
    Row(
        "no-such-host-v",
        "VirtualService",
        f"- {{match: [{{headers: {{lane: {{exact: none-such}}}}}}], {MISSING}}}\n- {{{to('v2')}}}",
        (Case(with_headers(lane="none-such"), NOBODY), Case(Request(), V2)),
    ),
    Row(
        "repeated-v",
        "VirtualService",
        matched("{exact: dev}", "VirtualService"),
        (
            Case(Request(headers=(("lane", "other"), ("lane", "dev"))), V2),
            Case(Request(headers=(("lane", "other"), ("lane", "x"))), V1),
        ),
    ),
    Row(
        "callers-v",
        "VirtualService",
        f"- {{match: [{{sourceLabels: {{app: other}}}}], {to('v1')}}}\n"
        f"- {{match: [{{sourceLabels: {{app: caller}}}}], {to('v2')}}}\n- {{{to('v3')}}}",
        (Case(Request(), V2),),
    ),
    Row(
        "hash-v",
        "VirtualService",
        "- route: [{destination: {host: HOST}}]",
        STICKY,
        policy=BY_USER,
    ),
    Row(
        "hash-m",
        "MetaRouter",
        "- {name: all, route: [{destination: {host: HOST}}]}",
        STICKY,
        policy=BY_USER,
    ),
    Row(
        "weights-of-endpoints-v",
        "VirtualService",
        "- route: [{destination: {host: HOST}}]",
        (Case(Request(), {"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.125}),),
        policy="{loadBalancer: {simple: ROUND_ROBIN}}",
        weights={"a": 4, "b": 2},
    ),
    Row(
        "weights-of-endpoints-m",
        "MetaRouter",
        "- {name: all, route: [{destination: {host: HOST}}]}",
        (Case(Request(), {"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.125}),),
        policy="{loadBalancer: {simple: ROUND_ROBIN}}",
        weights={"a": 4, "b": 2},
    ),
    Row(
        "localities-v",
        "VirtualService",
        "- route: [{destination: {host: HOST}}]",
        (Case(Request(), ALL),),
        localities={"a": "eu/a", "b": "eu/a", "c": "eu/a", "d": "us/b"},
    ),
    Row(
        "localities-m",
        "MetaRouter",
        "- {name: all, route: [{destination: {host: HOST}}]}",
        (Case(Request(), ALL),),
        localities={"a": "eu/a", "b": "eu/a", "c": "eu/a", "d": "us/b"},
    ),
)

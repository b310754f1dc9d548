"""The same YAML, served by istiod and by our control plane, gives the same decisions to our client,
whichever way it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import control_plane_process
import istiod_process
import pytest
from istio_shop import WAYS, asked
from meltemi import proxyless
from meltemi.proxyless import MeltemiError, NoRouteError
from meltemi.proxyless.mesh import Mesh
from ruled_service import HOST, TARGET, wait_for, write_rules, write_service

pytestmark = pytest.mark.peers

PORTS = {"v1": 19001, "v2": 19002, "v3": 19003}
"""Of endpoints that are chosen and never called."""
CALLS = 1000
ONE = "/shop.Books/One"


@dataclass
class Plane:
    """A control plane with a mesh for each way of asking it."""

    directory: Path
    meshes: dict[str, Mesh]


@pytest.fixture(scope="module")
def planes(
    istiod: None, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Plane]]:
    ours, theirs = (tmp_path_factory.mktemp("both") / name for name in ("ours", "istio"))
    for directory in (ours, theirs):
        directory.mkdir()
        write_service(directory, "http", PORTS)
    with ExitStack() as stack:
        ports = (free_port(), free_port())
        control = stack.enter_context(control_plane_process.running(ours, ports))
        mesh = stack.enter_context(proxyless.connect(control.xds, pod="a-caller", last_known="off"))
        server = stack.enter_context(
            istiod_process.running(theirs, (free_port(), free_port(), free_port()))
        )
        meshes = {way: stack.enter_context(asked(server, way)) for way in WAYS}
        yield [
            Plane(ours, {"ours": mesh}),
            Plane(theirs, meshes),
        ]


Asked = tuple[str, dict[str, str], object]
"""Path, headers, and what is expected: shares of versions, or no route."""


@dataclass(frozen=True)
class Row:
    rules: str
    asked: tuple[Asked, ...]
    timeout_s: float = 0.0
    retries: int = 2


def to(version: str, weight: int = 100) -> str:
    return f"{{destination: {{host: {HOST}, subset: {version}}}, weight: {weight}}}"


def matched(condition: str) -> str:
    """v2 where it holds, else v1."""
    return f"""
        - match: [{condition}]
          route: [{to("v2")}]
        - route: [{to("v1")}]
    """


def header(condition: str) -> str:
    return matched(f"{{headers: {{x-lane: {{{condition}}}}}}}")


def lane(*values: str | None, wanted: str) -> tuple[Asked, ...]:
    """Calls with these values of the header."""
    return tuple(
        (ONE, {} if value is None else {"x-lane": value}, {wanted: 100}) for value in values
    )


NO_ROUTE = object()

ROWS = {
    "weights": Row(
        f"- route: [{to('v1', 80)}, {to('v2', 20)}]", ((ONE, {}, {"v1": 80, "v2": 20}),)
    ),
    "three-weights": Row(
        f"- route: [{to('v1', 50)}, {to('v2', 30)}, {to('v3', 20)}]",
        ((ONE, {}, {"v1": 50, "v2": 30, "v3": 20}),),
    ),
    "a-weight-of-nothing": Row(
        f"- route: [{to('v1', 0)}, {to('v2', 100)}]", ((ONE, {}, {"v2": 100}),)
    ),
    "the-whole-baggage": Row(
        matched("{headers: {baggage: {exact: env=dev}}}"),
        (
            (ONE, {"baggage": "env=dev"}, {"v2": 100}),
            (ONE, {"baggage": "env=dev,user=1"}, {"v1": 100}),
            (ONE, {"baggage": "user=1,env=dev"}, {"v1": 100}),
            (ONE, {}, {"v1": 100}),
        ),
    ),
    "exact": Row(header("exact: a"), lane("a", wanted="v2") + lane("A", "ab", None, wanted="v1")),
    "prefix": Row(
        header("prefix: a"), lane("a", "ab", wanted="v2") + lane("ba", None, wanted="v1")
    ),
    "regex": Row(
        header('regex: "a[0-9]+"'),
        lane("a1", "a42", wanted="v2") + lane("xa1", "a1x", "a", None, wanted="v1"),
    ),
    "present": Row(header(""), lane("a", "b", wanted="v2") + lane(None, wanted="v1")),
    "without": Row(
        matched("{withoutHeaders: {x-lane: {exact: a}}}"),
        lane("b", None, wanted="v2") + lane("a", wanted="v1"),
    ),
    "several-conditions": Row(
        matched("{headers: {x-lane: {exact: a}, x-user: {prefix: u}}, uri: {prefix: /shop}}"),
        (
            (ONE, {"x-lane": "a", "x-user": "u1"}, {"v2": 100}),
            (ONE, {"x-lane": "a"}, {"v1": 100}),
            ("/other", {"x-lane": "a", "x-user": "u1"}, {"v1": 100}),
        ),
    ),
    "either-condition": Row(
        matched("{headers: {x-lane: {exact: a}}}, {headers: {x-user: {exact: b}}}"),
        (
            (ONE, {"x-lane": "a"}, {"v2": 100}),
            (ONE, {"x-user": "b"}, {"v2": 100}),
            (ONE, {"x-lane": "b", "x-user": "a"}, {"v1": 100}),
        ),
    ),
    "path-exact": Row(
        matched(f"{{uri: {{exact: {ONE}}}}}"),
        ((ONE, {}, {"v2": 100}), (f"{ONE}s", {}, {"v1": 100}), ("/", {}, {"v1": 100})),
    ),
    "path-prefix": Row(
        matched("{uri: {prefix: /shop.}}"),
        ((ONE, {}, {"v2": 100}), ("/shop", {}, {"v1": 100}), ("/x/shop.", {}, {"v1": 100})),
    ),
    "path-regex": Row(
        matched('{uri: {regex: "/shop\\\\.[A-Z][a-z]+/One"}}'),
        ((ONE, {}, {"v2": 100}), ("/shop.books/One", {}, {"v1": 100})),
    ),
    "path-in-any-case": Row(
        matched(f"{{uri: {{exact: {ONE.lower()}}}, ignoreUriCase: true}}"),
        ((ONE, {}, {"v2": 100}), (f"{ONE}s", {}, {"v1": 100})),
    ),
    "the-first-that-matches": Row(
        f"""
        - match: [{{uri: {{prefix: /shop}}}}]
          route: [{to("v2")}]
        - match: [{{uri: {{exact: {ONE}}}}}]
          route: [{to("v3")}]
        - route: [{to("v1")}]
        """,
        ((ONE, {}, {"v2": 100}), ("/", {}, {"v1": 100})),
    ),
    "no-match": Row(
        f"""
        - match: [{{headers: {{x-lane: {{exact: a}}}}}}]
          route: [{to("v2")}]
        """,
        ((ONE, {"x-lane": "a"}, {"v2": 100}), (ONE, {}, NO_ROUTE)),
    ),
    "a-timeout": Row(
        f"- {{route: [{to('v1')}], timeout: 1.5s}}", ((ONE, {}, {"v1": 100}),), timeout_s=1.5
    ),
    "more-attempts": Row(
        f"- {{route: [{to('v1')}], retries: {{attempts: 5, retryOn: 5xx}}}}",
        ((ONE, {}, {"v1": 100}),),
        retries=5,
    ),
    "one-attempt": Row(
        f"- {{route: [{to('v1')}], retries: {{attempts: 0}}}}",
        ((ONE, {}, {"v1": 100}),),
        retries=0,
    ),
}


def decided(mesh: Mesh, path: str, headers: dict[str, str]) -> object:
    """What became of CALLS calls."""
    target = mesh.target(TARGET)
    versions = {f"127.0.0.1:{port}": version for version, port in PORTS.items()}
    found: Counter[str] = Counter()
    for _ in range(CALLS):
        try:
            call = mesh.call(target, path, list(headers.items()))
        except NoRouteError:
            return NO_ROUTE
        except MeltemiError as exc:
            return exc
        found[versions[call.address]] += 1
        call.succeeded()
    return found


def agrees(found: object, wanted: object) -> bool:
    """Shares (in hundredths) are kept by any 1,000 calls to within a hundredth."""
    if not isinstance(found, Counter) or not isinstance(wanted, dict):
        return found == wanted
    if len(wanted) == 1:
        return set(found) == set(wanted)
    return all(abs(found[each] / CALLS * 100 - wanted.get(each, 0)) <= 1 for each in PORTS)


@pytest.mark.parametrize("name", ROWS)
def test_the_same_rules_decide_the_same(planes: list[Plane], name: str) -> None:
    row = ROWS[name]
    for plane in planes:
        newest = write_rules(plane.directory, row.rules)
        for way, mesh in plane.meshes.items():
            wait_for(mesh, newest)
            for path, headers, wanted in row.asked:
                found = decided(mesh, path, headers)
                explained = mesh.explain(TARGET, path=path, headers=headers)
                assert agrees(found, wanted), f"{way}: {found} for {path} {headers}: {explained}"
                if isinstance(wanted, dict):
                    retry = explained["retry"] or {"num_retries": 0}
                    said = (explained["timeout_s"] or 0.0, retry["num_retries"])
                    assert said == (row.timeout_s, row.retries), way

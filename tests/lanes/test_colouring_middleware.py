"""The ASGI and the WSGI middleware: the table of cases, and the context of the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from colouring_cases import CASES, Case, by_name, lane_groups
from meltemi.engine.colouring import Colouring
from meltemi.lanes.colouring import compiled
from meltemi.proxyless import SettingsError, colouring
from opentelemetry import baggage

EVERYBODY = """
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: books}
spec: {services: [{host: books}], baggageKey: env}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: dev}
spec: {group: books, entry: [{percentage: {value: 100}}]}
"""


def scope_of(case: Case, kind: str) -> dict[str, Any]:
    """As uvicorn makes it."""
    path, _, query = case.path.partition("?")
    scope = {
        "type": kind,
        "method": case.method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in case.before
        ],
        "client": (case.source, 4711),
    }
    if kind == "websocket":
        del scope["method"]
    return scope


def asked(scope: dict[str, Any], rules: Colouring) -> list[tuple[str, str]]:
    """The headers that an application gets; its baggage is what they say."""
    seen: list[tuple[str, str]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.extend((n.decode(), v.decode("latin-1")) for n, v in scope["headers"])

    async def run() -> None:
        await colouring.asgi(app, rules=rules)(scope, _nothing, _nothing)

    asyncio.run(run())
    return seen


async def _nothing(*_message: Any) -> None:
    raise AssertionError("the application neither reads nor answers")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_asgi_application_gets_what_the_table_says(case: Case) -> None:
    scope = scope_of(case, "http")
    before = list(scope["headers"])
    got = asked(scope, compiled(lane_groups(case.groups)))
    assert by_name(got) == by_name(case.after)
    assert scope["headers"] == before  # a server may use its scope again


@pytest.mark.parametrize("case", [case for case in CASES if case.method == "GET"])
def test_a_websocket_is_coloured_as_a_request_is(case: Case) -> None:
    got = asked(scope_of(case, "websocket"), compiled(lane_groups(case.groups)))
    assert by_name(got) == by_name(case.after)


def test_the_path_is_made_anew_where_the_server_does_not_say_it() -> None:
    case = next(case for case in CASES if case.name == "uri is not decoded")
    scope = scope_of(case, "http") | {"path": "/a b"}
    del scope["raw_path"]
    assert by_name(asked(scope, compiled(lane_groups(case.groups)))) == by_name(case.after)


def environ_of(case: Case) -> dict[str, Any]:
    """As gunicorn makes it."""
    path, _, query = case.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": case.method,
        "RAW_URI": case.path,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_ADDR": case.source,
        "wsgi.version": (1, 0),
    }
    for name, value in case.before:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def folded(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = by_name((name.replace("_", "-"), value) for name, value in headers)
    return {name: ",".join(values) for name, values in found.items()}


def served(environ: dict[str, Any], rules: Colouring) -> dict[str, str]:
    seen: dict[str, str] = {}

    def app(environ: dict[str, Any], _start_response: Callable[..., Any]) -> list[bytes]:
        prefix = "HTTP_"
        seen.update(
            (key.removeprefix(prefix).lower().replace("_", "-"), value)
            for key, value in environ.items()
            if key.startswith(prefix)
        )
        return []

    list(colouring.wsgi(app, rules=rules)(environ, lambda *_: None))
    return seen


@pytest.mark.parametrize(
    "case", [case for case in CASES if "wsgi" not in case.not_by], ids=lambda case: case.name
)
def test_a_wsgi_application_gets_what_the_table_says(case: Case) -> None:
    environ = environ_of(case)
    before = dict(environ)
    assert served(environ, compiled(lane_groups(case.groups))) == folded(case.after)
    assert environ == before


def test_a_header_that_wsgi_keeps_apart_is_read_too() -> None:
    rules = compiled(
        lane_groups(
            EVERYBODY.replace("percentage: {value: 100}", "headers: {content-type: {exact: a/b}}")
        )
    )
    environ = environ_of(CASES[0]) | {"CONTENT_TYPE": "a/b"}
    assert served(environ, rules)["baggage"] == "env=dev"
    assert "baggage" not in served(environ | {"CONTENT_TYPE": ""}, rules)


@pytest.mark.parametrize(
    "said", [{"SCRIPT_NAME": "/a", "PATH_INFO": " b"}, {"REQUEST_URI": "/a%20b"}]
)
def test_the_path_of_wsgi_is_what_was_sent(said: dict[str, str]) -> None:
    case = next(case for case in CASES if case.name == "uri is not decoded")
    environ = environ_of(case) | {"SCRIPT_NAME": "/a", "PATH_INFO": "%20b"} | said
    del environ["RAW_URI"]
    assert served(environ, compiled(lane_groups(case.groups)))


def test_the_application_is_served_in_the_coloured_context() -> None:
    seen = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(dict(baggage.get_all()))

    def wsgi_app(_environ: Any, _start_response: Any) -> list[bytes]:
        seen.append(dict(baggage.get_all()))
        return []

    rules = compiled(lane_groups(EVERYBODY))
    scope = scope_of(CASES[0], "http") | {"headers": [(b"baggage", b"a=1,env=x")]}
    asyncio.run(colouring.asgi(app, rules=rules)(scope, _nothing, _nothing))
    environ = environ_of(CASES[0]) | {"HTTP_BAGGAGE": "a=1,env=x"}
    list(colouring.wsgi(wsgi_app, rules=rules)(environ, lambda *_: None))
    assert seen == [{"a": "1", "env": "dev"}] * 2


def test_either_a_mesh_or_rules_are_wanted() -> None:
    with pytest.raises(TypeError, match="mesh= or rules="):
        colouring.asgi(lambda *_: None)


def test_rules_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "lanes.yaml").write_text(EVERYBODY)
    for path in (tmp_path, tmp_path / "lanes.yaml"):
        scope = scope_of(CASES[0], "http") | {"headers": []}
        assert asked(scope, colouring.rules_from(path)) == [("baggage", "env=dev")]


def test_all_that_is_wrong_with_the_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(EVERYBODY.replace("value: 100", "value: 101"))
    (tmp_path / "b.yaml").write_text(EVERYBODY.partition("---")[2].replace("books", "games"))
    with pytest.raises(SettingsError) as raised:
        colouring.rules_from(tmp_path, tmp_path / "none.yaml")
    text = str(raised.value)
    assert "a.yaml" in text and "none.yaml" in text and "LaneGroup default/games" in text
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(SettingsError, match=r"no LaneGroup in .*empty\.yaml"):
        colouring.rules_from(tmp_path / "empty.yaml")

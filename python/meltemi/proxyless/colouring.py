"""Colouring where there is no gateway: an application that is its own edge.

    app = colouring.asgi(app, mesh=mesh)                       # rules of the control plane, live
    app = colouring.wsgi(app, rules=colouring.rules_from("lanes.yaml"))

Marks of strangers are taken away, requests get the marks of their lanes, and the application serves
them in that context, as with `http_server`. What is decided, and how, says `meltemi.lanes`; a
gateway gives the same answers. Callers are known by the address of their connection: a server that
puts an address of X-Forwarded-For in its place decides whom it believes.

As long as nothing is known of the rules, all baggage is taken away: any of it may be a mark.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from meltemi.lanes.carriers import BAGGAGE, carries
from meltemi.lanes.colouring import MOST_NAMES, Changes, Kind, Placed, Plan, added, changes
from meltemi.lanes.entries import Asked
from meltemi.proxyless import http_server
from meltemi.proxyless.http_server import AsgiApp, Scope, WsgiApp

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

__all__ = ["asgi", "rules_from", "wsgi"]

WAIT_S: Final = 5.0
"""For the rules of the control plane, when an application is wrapped."""

log = logging.getLogger("meltemi.proxyless")

_KEPT_IN_PATHS: Final = "/!$&'()*+,;=:@~"
_STRIPPED: Final = Kind("", read=False, members=False, marks=frozenset(), carries=True)


def asgi(
    app: AsgiApp, *, mesh: Mesh | None = None, rules: Plan | None = None, wait_s: float = WAIT_S
) -> AsgiApp:
    """`app`, whose requests and websockets are coloured, and have the context that they then say.

    The rules are those of the control plane of `mesh`, which are waited for once, at most `wait_s`,
    or `rules`. Raises TypeError unless there is one of the two."""
    edge = _Edge(mesh, rules, wait_s, _asgi_name)
    served = http_server.asgi(app)

    async def serving(
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] in ("http", "websocket"):
            kinds = edge.kinds()
            relevant = [pair for pair in scope["headers"] if kinds[pair[0]]]
            if relevant or not kinds.may_skip:
                changed = _asgi_headers(kinds, relevant, scope)
                if changed is not None:
                    scope = {**scope, "headers": changed}
        await served(scope, receive, send)

    return serving


def wsgi(
    app: WsgiApp, *, mesh: Mesh | None = None, rules: Plan | None = None, wait_s: float = WAIT_S
) -> WsgiApp:
    """The same for an application of Flask, Django, …"""
    edge = _Edge(mesh, rules, wait_s, _wsgi_name)
    served = http_server.wsgi(app)

    def serving(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        kinds = edge.kinds()
        relevant = [key for key in environ if kinds[key]]
        if relevant or not kinds.may_skip:
            environ = _wsgi_environ(kinds, relevant, environ)
        return served(environ, start_response)

    return serving


def rules_from(*paths: str | Path) -> Plan:
    """The rules of the LaneGroups and Lanes in YAML files, and in folders of them; for a control
    plane that knows no lanes. Raises SettingsError, which names all that is wrong."""
    from meltemi.proxyless.edge_files import groups_in

    return Plan(groups_in([Path(path) for path in paths]))


class _Kinds(dict[Any, Kind | None]):
    """What headers are, by their names as the server has them. Names are made up by strangers: not
    all are remembered."""

    def __init__(self, plan: Plan | None, name_of: Callable[[Any], str | None]) -> None:
        self.plan = plan
        self.may_skip = plan is None or plan.asks_headers
        """A request without a header that is of some kind stays as it is."""
        self._name_of = name_of

    def __missing__(self, name: Any) -> Kind | None:
        text = self._name_of(name)
        kind = None
        if text is not None and self.plan is not None:
            kind = self.plan.kind(text)
        elif text is not None and carries(text) is not None:
            kind = _STRIPPED
        if len(self) < MOST_NAMES:
            self[name] = kind
        return kind


class _Edge:
    """Where the rules come from."""

    def __init__(
        self,
        mesh: Mesh | None,
        rules: Plan | None,
        wait_s: float,
        name_of: Callable[[Any], str | None],
    ) -> None:
        if (mesh is None) == (rules is None):
            raise TypeError("colouring wants either mesh= or rules=")
        self._mesh = mesh
        self._name_of = name_of
        if mesh is not None and not mesh.wait_for_colouring(wait_s):
            log.warning(
                "no rules of colouring came within %g s: until they do, requests get no mark, and "
                "all their baggage is taken away",
                wait_s,
            )
        self._kinds = _Kinds(rules, name_of)

    def kinds(self) -> _Kinds:
        """By the rules of now."""
        if self._mesh is not None:
            plan = self._mesh.colouring()
            if plan is not self._kinds.plan:
                self._kinds = _Kinds(plan, self._name_of)
        return self._kinds


def _chance() -> int:
    return int(random.random() * 100)


def _changes(kinds: _Kinds, relevant: Sequence[Placed], asked: Asked) -> Changes | None:
    if kinds.plan is None:
        return Changes({each.place: None for each in relevant}, "")
    return changes(kinds.plan, relevant, asked)


# === ASGI ===


def _asgi_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _asgi_headers(
    kinds: _Kinds, relevant: Sequence[tuple[bytes, bytes]], scope: Scope
) -> list[tuple[bytes, bytes]] | None:
    """The headers of a coloured request; None: those that it has."""
    client = scope.get("client")
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"], safe=_KEPT_IN_PATHS)
    read: dict[str, list[str]] = {}
    asked = Asked(
        scope.get("method", "GET"),
        path.partition("?")[0],
        scope.get("query_string", b"").decode("latin-1"),
        read,
        client[0] if client else "",
        _chance,
    )
    for name, value in relevant:
        kind = kinds[name]
        if kind is None or kind.carries:
            return _asgi_changed(kinds, asked, scope)
        read.setdefault(kind.name, []).append(value.decode("latin-1"))
    mark = added(kinds.plan, asked) if kinds.plan is not None else ""
    return [*scope["headers"], (b"baggage", mark.encode())] if mark else None


def _asgi_changed(kinds: _Kinds, asked: Asked, scope: Scope) -> list[tuple[bytes, bytes]] | None:
    """Where the request has baggage already."""
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    relevant = [
        Placed(place, value.decode("latin-1"), kind)
        for place, (name, value) in enumerate(headers)
        if (kind := kinds[name]) is not None
    ]
    made = _changes(kinds, relevant, asked)
    if made is None:
        return None
    for place, now in sorted(made.values.items(), reverse=True):
        if now is None:
            del headers[place]
        else:
            headers[place] = (headers[place][0], now.encode("latin-1"))
    if made.added:
        headers.append((BAGGAGE.encode(), made.added.encode()))
    return headers


# === WSGI ===

_PREFIX: Final = "HTTP_"
_UNPREFIXED: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


def _wsgi_name(key: str) -> str | None:
    if key.startswith(_PREFIX):
        return key[len(_PREFIX) :].lower().replace("_", "-")
    return key.lower().replace("_", "-") if key in _UNPREFIXED else None


def _wsgi_environ(kinds: _Kinds, keys: Sequence[str], environ: dict[str, Any]) -> dict[str, Any]:
    """The environment of a coloured request."""
    relevant = [
        Placed(place, environ[key], kind)
        for place, key in enumerate(keys)
        if (kind := kinds[key]) is not None and (environ[key] or key not in _UNPREFIXED)
    ]
    asked = Asked(
        method=environ["REQUEST_METHOD"],
        path=_wsgi_path(environ),
        query=environ.get("QUERY_STRING", ""),
        headers={},
        source=environ.get("REMOTE_ADDR", ""),
        chance=_chance,
    )
    made = _changes(kinds, relevant, asked)
    if made is None:
        return environ
    environ = dict(environ)
    for place, now in made.values.items():
        if now is None:
            del environ[keys[place]]
        else:
            environ[keys[place]] = now
    if made.added:
        environ[_PREFIX + BAGGAGE.upper()] = made.added
    return environ


def _wsgi_path(environ: dict[str, Any]) -> str:
    """As it was sent, where the server says that (gunicorn, uWSGI, werkzeug); else encoded anew."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if isinstance(raw, str) and raw.startswith("/"):
        return raw.partition("?")[0]
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(decoded, safe=_KEPT_IN_PATHS, encoding="latin-1")

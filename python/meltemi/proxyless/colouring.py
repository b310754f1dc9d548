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
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from random import getrandbits
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from meltemi.engine.colouring import Colouring
from meltemi.lanes.colouring import compiled
from meltemi.proxyless import http_server
from meltemi.proxyless.http_server import AsgiApp, Scope, WsgiApp

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

__all__ = ["asgi", "rules_from", "wsgi"]

WAIT_S: Final = 5.0
"""For the rules of the control plane, when an application is wrapped."""
CHANCE_BITS: Final = 64

log = logging.getLogger("meltemi.proxyless")

_BAGGAGE: Final = b"baggage"
_KEPT_IN_PATHS: Final = "/!$&'()*+,;=:@~"


def asgi(
    app: AsgiApp,
    *,
    mesh: Mesh | None = None,
    rules: Colouring | None = None,
    wait_s: float = WAIT_S,
) -> AsgiApp:
    """`app`, whose requests and websockets are coloured, and have the context that they then say.

    The rules are those of the control plane of `mesh`, which are waited for once, at most `wait_s`,
    or `rules`. Raises TypeError unless there is one of the two."""
    current = _rules(mesh, rules, wait_s)
    served = http_server.asgi(app)

    async def serving(
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            made = current().changes(
                scope["headers"],
                scope.get("method", "GET"),
                scope.get("raw_path") or quote(scope["path"], safe=_KEPT_IN_PATHS).encode(),
                scope.get("query_string", b""),
                client[0] if client else "",
                getrandbits(CHANCE_BITS),
            )
            if made is not None:
                scope = {**scope, "headers": _changed(scope["headers"], *made)}
        await served(scope, receive, send)

    return serving


def wsgi(
    app: WsgiApp,
    *,
    mesh: Mesh | None = None,
    rules: Colouring | None = None,
    wait_s: float = WAIT_S,
) -> WsgiApp:
    """The same for an application of Flask, Django, …"""
    current = _rules(mesh, rules, wait_s)
    served = http_server.wsgi(app)

    def serving(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        keys = [key for key in environ if _is_header(key, environ)]
        made = current().changes(
            [(_wsgi_name(key), environ[key].encode("latin-1")) for key in keys],
            environ["REQUEST_METHOD"],
            _wsgi_path(environ),
            environ.get("QUERY_STRING", "").encode("latin-1"),
            environ.get("REMOTE_ADDR", ""),
            getrandbits(CHANCE_BITS),
        )
        if made is not None:
            environ = dict(environ)
            for place, now in made[0]:
                if now is None:
                    del environ[keys[place]]
                else:
                    environ[keys[place]] = now.decode("latin-1")
            if made[1]:
                environ["HTTP_BAGGAGE"] = made[1].decode("latin-1")
        return served(environ, start_response)

    return serving


def rules_from(*paths: str | Path) -> Colouring:
    """The rules of the LaneGroups and Lanes in YAML files, and in folders of them; for a control
    plane that knows no lanes. Raises SettingsError, which names all that is wrong."""
    from meltemi.proxyless.edge_files import groups_in

    return compiled(groups_in([Path(path) for path in paths]))


def _rules(mesh: Mesh | None, rules: Colouring | None, wait_s: float) -> Callable[[], Colouring]:
    """What gives the rules of now."""
    if mesh is None and rules is not None:
        return lambda: rules
    if mesh is None or rules is not None:
        raise TypeError("colouring wants either mesh= or rules=")
    if not mesh.wait_for_colouring(wait_s):
        log.warning(
            "no rules of colouring came within %g s: until they do, requests get no mark, and all "
            "their baggage is taken away",
            wait_s,
        )
    nothing_known = compiled(None)
    return lambda: mesh.colouring() or nothing_known


def _changed(
    headers: Iterable[tuple[bytes, bytes]], values: Iterable[tuple[int, bytes | None]], added: bytes
) -> list[tuple[bytes, bytes]]:
    made = list(headers)
    for place, now in sorted(values, reverse=True):
        if now is None:
            del made[place]
        else:
            made[place] = (made[place][0], now)
    if added:
        made.append((_BAGGAGE, added))
    return made


# === WSGI ===

_PREFIX: Final = "HTTP_"
_UNPREFIXED: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


def _is_header(key: str, environ: dict[str, Any]) -> bool:
    return key.startswith(_PREFIX) or (key in _UNPREFIXED and bool(environ[key]))


def _wsgi_name(key: str) -> bytes:
    return key.removeprefix(_PREFIX).lower().replace("_", "-").encode("latin-1")


def _wsgi_path(environ: dict[str, Any]) -> bytes:
    """As it was sent, where the server says that (gunicorn, uWSGI, werkzeug); else encoded anew."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if isinstance(raw, str) and raw.startswith("/"):
        return raw.partition("?")[0].encode("latin-1")
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(decoded, safe=_KEPT_IN_PATHS, encoding="latin-1").encode()

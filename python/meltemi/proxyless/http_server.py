"""HTTP servers: a request is served in the context that it came with, so that calls made for it
carry on its baggage, trace and metainfo.

`asgi` wraps an application of Starlette, FastAPI, …; `wsgi` one of Flask, Django, … With `mesh=`
marks of lanes are taken only of callers whose marks count; the application does not see others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, attach, detach, get_current

from meltemi.proxyless.context import incoming, is_read

if TYPE_CHECKING:
    from meltemi.proxyless.guard import Guard
    from meltemi.proxyless.mesh import Mesh

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def asgi(app: AsgiApp, *, mesh: Mesh | None = None) -> AsgiApp:
    """`app`, whose requests have the context that their headers say."""
    guard = _guard(mesh)

    async def serving(
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        if guard is not None:
            scope = _judged(scope, guard)
        pairs = [
            (name.decode("latin-1"), value) for name, value in scope["headers"] if _is_read(name)
        ]
        if not pairs and not get_current():  # nothing came, and nothing is here
            await app(scope, receive, send)
            return
        token = attach(incoming(pairs))
        try:
            await app(scope, receive, send)
        finally:
            detach(token)

    return serving


def wsgi(app: WsgiApp, *, mesh: Mesh | None = None) -> WsgiApp:
    """`app`, whose requests have the context that their headers say, and so have their bodies."""
    guard = _guard(mesh)

    def serving(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if guard is not None:
            environ = _judged_environ(environ, guard)
        context = incoming(
            [(_header(key), str(environ[key])) for key in environ if _is_read_key(key)]
        )
        token = attach(context)
        try:
            body = app(environ, start_response)
        finally:
            detach(token)
        return body if isinstance(body, (list, tuple)) else _Body(body, context)

    return serving


def _guard(mesh: Mesh | None) -> Guard | None:
    if mesh is None:
        return None
    from meltemi.proxyless.guard import Guard

    return Guard(mesh)


def _judged(scope: Scope, guard: Guard) -> Scope:
    """Without the marks that its caller may not set."""
    from meltemi.proxyless.guard import NOTHING, left

    client = scope.get("client")
    keys = guard.denied(client[0] if client else "")
    if keys == NOTHING:
        return scope
    headers = []
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        now = left(name.decode("latin-1"), text, keys)
        if now is not None:
            headers.append((name, now.encode("latin-1")))
    return {**scope, "headers": headers}


def _judged_environ(environ: dict[str, Any], guard: Guard) -> dict[str, Any]:
    from meltemi.proxyless.guard import NOTHING, left

    keys = guard.denied(environ.get("REMOTE_ADDR", ""))
    if keys == NOTHING:
        return environ
    judged = {}
    for name, value in environ.items():
        now = left(name[5:], value, keys) if name.startswith("HTTP_") else value
        if now is not None:
            judged[name] = now
    return judged


# Of names that strangers make up only so many are remembered.
@lru_cache(maxsize=2048)
def _is_read(name: bytes) -> bool:
    return is_read(name.decode("latin-1"))


@lru_cache(maxsize=2048)
def _is_read_key(key: str) -> bool:
    return key.startswith("HTTP_") and is_read(_header(key))


def _header(key: str) -> str:
    return key[5:].replace("_", "-")


class _Body:
    """A body that is made as it is sent: each part in the request's context."""

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body = body
        self._parts = iter(body)
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = attach(self._context)
        try:
            return next(self._parts)
        finally:
            detach(token)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

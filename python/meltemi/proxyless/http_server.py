"""HTTP servers: a request is served in the context that it came with, so that calls made for it
carry on its baggage, trace and metainfo.

`asgi` wraps an application of Starlette, FastAPI, …; `wsgi` one of Flask, Django, …
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from opentelemetry.context import Context, attach, detach

from meltemi.proxyless.context import incoming

Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def asgi(app: AsgiApp) -> AsgiApp:
    """`app`, whose requests have the context that their headers say."""

    async def serving(
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        pairs = ((name.decode("latin-1"), value) for name, value in scope["headers"])
        token = attach(incoming(pairs))
        try:
            await app(scope, receive, send)
        finally:
            detach(token)

    return serving


def wsgi(app: WsgiApp) -> WsgiApp:
    """`app`, whose requests have the context that their headers say, and so have their bodies."""

    def serving(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        context = incoming(
            (name[5:].replace("_", "-"), str(value))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        )
        token = attach(context)
        try:
            body = app(environ, start_response)
        finally:
            detach(token)
        return body if isinstance(body, (list, tuple)) else _Body(body, context)

    return serving


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

"""ASGI, by hand: the page, and what it asks of the mesh's traces, for any ASGI application.

Traces come from the receiver of `meltemi up` (`MELTEMI_TRACES`, in the environment that it gives to
its processes). Where traces go to a collector of the user's, the answer says which."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import httpx

from meltemi.page.files import File, files

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing but the page's own files, and nothing inline."""
ASKED = re.compile(r"/api/v1/(traces/[0-9a-f]{32}|graph)")
TIMEOUT_S: Final = 5.0
_FOREVER, _ASK = "public, max-age=31536000, immutable", "no-cache"


def asgi(app: App, environment: Mapping[str, str] = os.environ) -> App:
    """`app` with the page before it. `environment` tells where the traces are."""
    receiver = environment.get("MELTEMI_TRACES", "").rstrip("/")
    collector = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT", ""
    )

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await app(scope, receive, send)
        elif ASKED.fullmatch(scope["path"]):
            answer = await _asked(scope, receiver, collector)
            await _send(scope, send, *answer)
        elif (file := files().get(scope["path"])) is not None:
            await _send(scope, send, *_of_file(scope, file))
        else:
            await app(scope, receive, send)

    return serve


Answer = tuple[int, dict[str, str], bytes]


def _of_file(scope: Scope, file: File) -> Answer:
    headers = {
        "content-type": file.content_type,
        "cache-control": _FOREVER if file.forever else _ASK,
        "etag": file.etag,
        "vary": "accept-encoding",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    if _header(scope, b"if-none-match") == file.etag:
        return 304, headers, b""
    if "gzip" in _header(scope, b"accept-encoding"):
        return 200, {**headers, "content-encoding": "gzip"}, file.gzipped
    return 200, headers, file.body


async def _asked(scope: Scope, receiver: str, collector: str) -> Answer:
    """What the receiver answers, or why it does not."""
    if not receiver:
        return _no_receiver(collector)
    path = scope["path"].replace("/api/v1/", "/api/", 1)
    query = scope["query_string"].decode("latin-1")
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            found = await client.get(f"{receiver}{path}", params=query)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        return _json(502, error=f"the traces at {receiver} cannot be read: {why}", hint="")
    if found.status_code == 404 and path.startswith("/api/traces/"):
        # spans come later than the answer that they are about: that is no error of the page's
        return _json(200, trace_id=path.rpartition("/")[2], complete=False, hops=[])
    kept = {"content-type": found.headers.get("content-type", "application/json")}
    return found.status_code, {**kept, "cache-control": "no-store"}, found.content


def _no_receiver(collector: str) -> Answer:
    if collector:
        return _json(
            404,
            error=f"traces go to {collector}",
            hint="look there for the way of this request",
            collector=collector,
        )
    hint = "`meltemi up` receives them, unless OTEL_EXPORTER_OTLP_ENDPOINT names a collector"
    return _json(404, error="nobody receives the traces of this mesh", hint=hint)


def _json(status: int, **content: object) -> Answer:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return status, headers, json.dumps(content).encode()


def _header(scope: Scope, name: bytes) -> str:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values)


async def _send(
    scope: Scope, send: Send, status: int, headers: dict[str, str], body: bytes
) -> None:
    if status != 304:
        headers = {**headers, "content-length": str(len(body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

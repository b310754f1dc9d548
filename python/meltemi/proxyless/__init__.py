"""A mesh without sidecars: a process asks the control plane itself and calls its peers directly.

    from meltemi import proxyless

    mesh = proxyless.connect()                               # a Mesh; settings of the environment
    reviews = mesh.thrift("reviews:9080", ReviewsService)    # calls as on thriftpy2's client
    channel = mesh.grpc("ratings.default:9080")              # a grpc.Channel, for any stub
    books = mesh.httpx("http://details:9080")                # an httpx.Client

For asyncio: `mesh.thrift_async`, `mesh.grpc_aio`, `mesh.httpx_async`. `mesh.explain` says where a
call would go and why, `mesh.status` how it is with the control plane. What calls fail with is a
`MeltemiError` (for httpx and gRPC the `__cause__` of their own errors).

Servers hand on the context of their callers with `thrift.mesh_server`, `http_server.asgi` and
`wsgi`, `grpc_server.interceptor` and `aio_interceptor`; threads, pools and queues with `handoff`.

All times are seconds, as `float`. The way from an existing client is docs/proxyless-guide.md.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meltemi.proxyless.errors import (
    CallTimeoutError,
    CircuitBreakerError,
    ClosedError,
    ConnectError,
    DirectResponseError,
    MeltemiError,
    NoEndpointError,
    NoRouteError,
    NotReadyError,
    SettingsError,
)

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh
    from meltemi.proxyless.options import Mode, Options

__all__ = [
    "CallTimeoutError",
    "CircuitBreakerError",
    "ClosedError",
    "ConnectError",
    "DirectResponseError",
    "MeltemiError",
    "NoEndpointError",
    "NoRouteError",
    "NotReadyError",
    "SettingsError",
    "connect",
]

WARM_TIMEOUT_S = 5.0

log = logging.getLogger("meltemi.proxyless")


def connect(
    address: str | None = None,
    *,
    mode: Mode | None = None,
    namespace: str | None = None,
    pod: str | None = None,
    instance_ip: str | None = None,
    domain: str | None = None,
    node_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    cluster_id: str | None = None,
    delta: bool | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    tls: bool | None = None,
    ca: str | Path | None = None,
    server_name: str | None = None,
    ready_timeout_s: float | None = None,
    last_known: str | Path | None = None,
    last_known_max_age_s: float | None = None,
    warm: Iterable[str] = (),
    warm_timeout_s: float = WARM_TIMEOUT_S,
) -> Mesh:
    """A mesh whose control plane is at `address` (`HOST:PORT` or `unix:PATH`).

    What is not said comes from the environment, then from defaults that suit a machine of one's
    own: docs/proxyless.md lists them. Connecting happens in a thread, for ever; this waits for the
    targets in `warm` only, at most `warm_timeout_s`, and goes on without what did not come.
    `last_known`: a folder for the file of the last good state, or `off`. Equal settings give the
    same mesh, which ends when it was closed as often. Raises SettingsError, which names all that is
    wrong.
    """
    given = dict(locals())
    targets = list(given.pop("warm"))
    given.pop("warm_timeout_s")
    from meltemi.proxyless import bootstrap

    mesh = _opened(bootstrap.options(given, os.environ))
    if targets:
        try:
            mesh.warm(targets, warm_timeout_s)
        except NotReadyError as exc:
            log.warning("goes on although not warm: %s", exc)
    return mesh


_lock = threading.Lock()
_open: dict[Options, tuple[Mesh, int]] = {}


def _opened(options: Options) -> Mesh:
    from meltemi.proxyless.mesh import Mesh

    with _lock:
        found, users = _open.get(options, (None, 0))
        mesh = found or Mesh(options, _closed)
        _open[options] = mesh, users + 1
        return mesh


def _closed(options: Options) -> bool:
    """One user of a mesh closed it; whether that was the last."""
    with _lock:
        found, users = _open.get(options, (None, 0))
        if found is not None and users > 1:
            _open[options] = found, users - 1
            return False
        _open.pop(options, None)
        return True


def _close_all() -> None:
    for mesh, users in list(_open.values()):
        for _ in range(users):
            mesh.close()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)

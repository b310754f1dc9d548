"""Thrift without a sidecar: clients that route their calls, and servers that read what came with
them.

`client` and `async_client` are what `mesh.thrift` and `mesh.thrift_async` give; `mesh_server`
wraps a server of thriftpy2 so that it reads and answers in what its callers speak. From a call to
its bytes: `calls`, `frames`, `connection`; back: `reply`, `codec`; `probe` finds out what an
endpoint speaks."""

from typing import TYPE_CHECKING, Any

try:
    import thriftpy2  # noqa: F401
except ImportError:
    raise ImportError("Thrift needs thriftpy2: pip install 'meltemi[thrift]'") from None

from meltemi.proxyless.thrift.aio import AsyncThriftClient
from meltemi.proxyless.thrift.blocking import ThriftClient
from meltemi.proxyless.thrift.errors import (
    BadReplyError,
    BizStatusError,
    ConnectionLostError,
    MetadataError,
    ThriftConnectError,
    ThriftTimeoutError,
)
from meltemi.proxyless.thrift.reply import received_metadata
from meltemi.proxyless.thrift.request import answer_with
from meltemi.proxyless.thrift.server import mesh_server
from meltemi.proxyless.thrift.service import methods_of
from meltemi.proxyless.thrift.settings import CONNECT_TIMEOUT_S, NOT_SAID, NotSaid, Settings

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

__all__ = [
    "AsyncThriftClient",
    "BadReplyError",
    "BizStatusError",
    "ConnectionLostError",
    "MetadataError",
    "ThriftClient",
    "ThriftConnectError",
    "ThriftTimeoutError",
    "answer_with",
    "async_client",
    "client",
    "mesh_server",
    "received_metadata",
]


def client(
    mesh: "Mesh",
    target: str,
    service: Any,
    *,
    wire: str = "auto",
    timeout_s: float | NotSaid | None = NOT_SAID,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    package: str | None = None,
    multiplexed: str | None = None,
    caller: str = "",
) -> ThriftClient:
    """A client with blocking calls, for any number of threads at once.

    `target` is `host:port` as rules name the host; `service` the class that thriftpy2 makes of a
    service of the IDL.

    `wire`: "ttheader", "theader" (both carry metadata), "framed", "unframed", or "auto": each
    endpoint is asked once, before its first call, and plain ones are warned about. `timeout_s`
    limits a whole call with all its attempts: the smaller of it and the route's holds; not said,
    the route's holds, or 3 s (thriftpy2's) where it has none; None means no limit of the user's.
    `package` is that of the path `/<package>.<Service>/<method>`, which the IDL says otherwise;
    `multiplexed` the service's name for `TMultiplexedProtocol`; `caller` the name that callees see
    as `FromService`.

    ValueError or TypeError say which argument is wrong."""
    parsed = mesh.target(target)
    methods = methods_of(service, package, multiplexed)
    settings = Settings.parse(parsed, service, wire, timeout_s, connect_timeout_s, caller)
    return ThriftClient(mesh, parsed, methods, settings)


def async_client(
    mesh: "Mesh",
    target: str,
    service: Any,
    *,
    wire: str = "auto",
    timeout_s: float | NotSaid | None = NOT_SAID,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    package: str | None = None,
    multiplexed: str | None = None,
    caller: str = "",
) -> AsyncThriftClient:
    """As `client`, for asyncio: methods are awaited; for any number of tasks and event loops."""
    parsed = mesh.target(target)
    methods = methods_of(service, package, multiplexed)
    settings = Settings.parse(parsed, service, wire, timeout_s, connect_timeout_s, caller)
    return AsyncThriftClient(mesh, parsed, methods, settings)

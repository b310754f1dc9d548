"""Clients for asyncio: `mesh.thrift_async("reviews:9080", ReviewsService)`.

As `blocking`, with awaits: what a call carries (`calls`), which endpoint takes it
(`mesh.call_async`), a connection of the running event loop (`aio_connection`), and what came of it
told to the `Call`. A client may be used by any number of tasks at once, and by several event
loops."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from thriftpy2.thrift import TApplicationException

from meltemi.proxyless.context import outgoing
from meltemi.proxyless.errors import CallTimeoutError
from meltemi.proxyless.thrift import attempts, probe, reply, ttheader
from meltemi.proxyless.thrift.aio_connection import AsyncConnection, AsyncPool
from meltemi.proxyless.thrift.attempts import AttemptError
from meltemi.proxyless.thrift.calls import SERVING, Prepared
from meltemi.proxyless.thrift.codec import Codec
from meltemi.proxyless.thrift.connection import MAX_SEQID, Expired, Unsent
from meltemi.proxyless.thrift.errors import BizStatusError, MetadataError, ThriftTimeoutError
from meltemi.proxyless.thrift.limits import after_wait, left, of_attempt
from meltemi.proxyless.thrift.service import Method, answer
from meltemi.proxyless.thrift.settings import Settings
from meltemi.proxyless.thrift.wire import Wire
from meltemi.proxyless.tracing import CallSpan, call_span

if TYPE_CHECKING:
    from meltemi.engine import Call
    from meltemi.proxyless.mesh import Mesh


class _Codecs(threading.local):
    """One a thread, as event loops are; nothing awaits between its first use and its last."""

    def __init__(self) -> None:
        self.codec = Codec()


_CODECS = _Codecs()


class AsyncLines:
    """Connections of one event loop to endpoints: the pool, and what each endpoint speaks."""

    def __init__(self, settings: Settings, source_address: str | None) -> None:
        self._settings = settings
        self.verdicts = probe.Verdicts(settings.target)
        self.pool = AsyncPool(source_address, self.verdicts.forget)
        self._asking: dict[str, asyncio.Lock] = {}

    async def connect(self, address: str, limit_s: float | None) -> AsyncConnection:
        """A new connection. `AttemptError` where there is none."""
        timeout_s = self._settings.connect_timeout_s
        if limit_s is not None and limit_s < timeout_s:
            timeout_s = limit_s
        try:
            wire = self._settings.wire or await self._wire(address, limit_s)
            return await self.pool.connect(address, wire, timeout_s)
        except OSError as error:
            self.verdicts.forget(address)
            raise attempts.not_connected(address, error) from error

    async def _wire(self, address: str, limit_s: float | None) -> Wire:
        """What the endpoint speaks: asked once, by one task, in the time that the call has."""
        wire = self.verdicts.known(address, monotonic())
        if wire is not None:
            return wire
        deadline_s = None if limit_s is None else monotonic() + limit_s
        asking = self._asking.setdefault(address, asyncio.Lock())
        try:
            async with asyncio.timeout(limit_s):
                await asking.acquire()
        except TimeoutError:
            raise attempts.silent(address, limit_s) from None
        try:
            return await self._found_wire(address, limit_s, deadline_s)
        finally:
            self._asking.pop(address, None)
            asking.release()

    async def _found_wire(
        self, address: str, limit_s: float | None, deadline_s: float | None
    ) -> Wire:
        wire = self.verdicts.known(address, monotonic())
        if wire is not None:
            return wire
        while (question := self.verdicts.next_question(address)) is not None:
            asked, wait_s = question
            began_s = monotonic()
            if deadline_s is not None:
                wait_s = min(wait_s, deadline_s - began_s)
            answer = probe.Answer.SILENCE
            if wait_s > 0:
                answer = await self._ask(address, asked, wait_s, deadline_s)
            now_s = monotonic()
            waited_s = now_s - began_s
            if not self.verdicts.answered(address, asked, answer, waited_s, now_s):
                raise attempts.silent(address, limit_s)
            if answer is probe.Answer.YES:
                return asked
        raise attempts.speaks_nothing(address)

    async def _ask(
        self, address: str, wire: Wire, wait_s: float, deadline_s: float | None
    ) -> probe.Answer:
        timeout_s = self._settings.connect_timeout_s
        if deadline_s is not None:
            timeout_s = min(timeout_s, left(deadline_s))
        connection = await self.pool.connect(address, wire, timeout_s)
        ends_s = monotonic() + wait_s
        if deadline_s is not None:
            ends_s = min(ends_s, deadline_s)
        try:
            connection.deadline_s = ends_s
            connection.send(probe.PROBES[wire])
            return probe.judge(wire, await connection.read(4096))
        except Expired:
            return probe.Answer.SILENCE
        except (Unsent, OSError):
            return probe.Answer.NO
        finally:
            connection.close()


class AsyncThriftClient:
    """Calls the methods of a service; each is an attribute that returns an awaitable, as on
    thriftpy2's asyncio client. What it returns and raises is that of `blocking.ThriftClient`."""

    def __init__(
        self, mesh: "Mesh", target: Any, methods: list[Method], settings: Settings
    ) -> None:
        self._settings = settings
        self._target = target
        self._call = mesh.call_async
        self._patience_s = settings.limit.patience_s
        self._source_address = mesh.source_address
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLines] = (
            weakref.WeakKeyDictionary()
        )
        self._rpc_service = methods[0].path.split("/")[1] if methods else ""
        mesh.serves(target, f"/{self._rpc_service}/")
        for method in methods:
            name = "tclose" if method.name == "close" else method.name
            setattr(self, name, self._bound(method))

    def close(self) -> None:
        """Closes the idle connections of the running event loop; those in use are closed when their
        call is over."""
        lines = self._by_loop.pop(asyncio.get_running_loop(), None)
        if lines is not None:
            lines.pool.close()

    async def __aenter__(self) -> "AsyncThriftClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._rpc_service} has no method {name!r}")

    def _lines(self) -> AsyncLines:
        loop = asyncio.get_running_loop()
        lines = self._by_loop.get(loop)
        if lines is None:
            for other in list(self._by_loop):
                if other.is_closed():  # its connections cannot be used, nor closed by it
                    del self._by_loop[other]
            lines = self._by_loop[loop] = AsyncLines(self._settings, self._source_address)
        return lines

    def _bound(self, method: Method) -> Callable[..., Awaitable[Any]]:
        prepared: Prepared | None = None
        target, settings = self._target, self._settings
        service, name = self._rpc_service, method.name

        async def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal prepared
            body = _CODECS.codec.encode(method.arguments(*args, **kwargs))
            span = call_span("thrift", service, name, target.host, target.port)
            carried = outgoing() if span is None else span.outgoing
            ready, serving = prepared, SERVING.get()
            if ready is None or ready.carried is not carried or ready.serving is not serving:
                ready = prepared = Prepared(settings.caller, method, carried, serving)
            if span is None:
                return await self._invoke(method, ready, body, None)
            return await self._spanned(method, ready, body, span)

        call.__name__ = name
        call.__qualname__ = f"{service}.{name}"
        return call

    async def _spanned(self, method: Method, ready: Prepared, body: bytes, span: CallSpan) -> Any:
        calls: list[Call] = []
        try:
            result = await self._invoke(method, ready, body, calls)
        except BaseException as error:
            span.end(calls[0] if calls else None, error)
            raise
        span.end(calls[0] if calls else None)
        return result

    async def _invoke(
        self, method: Method, ready: Prepared, body: bytes, calls: "list[Call] | None"
    ) -> Any:
        began_s = monotonic()
        try:
            call = await self._call(self._target, method.path, ready.attributes, self._patience_s)
        except CallTimeoutError as error:
            raise ThriftTimeoutError(str(error)) from error
        if calls is not None:
            calls.append(call)
        now_s = monotonic()
        limit_s = self._settings.limit.of_call(call.timeout_s)
        limit_s = after_wait(limit_s, self._patience_s, now_s - began_s)
        per_try_s = call.per_try_timeout_s
        deadline_s = None if limit_s is None else now_s + limit_s
        left_s = limit_s
        while True:
            try:
                result = await self._attempt(
                    call, method, ready, body, now_s, of_attempt(left_s, per_try_s)
                )
                break
            except AttemptError as failed:
                wait_s = call.failed(failed.reason, failed.status)
                if wait_s is None:
                    raise failed.error from failed.__cause__
                if deadline_s is not None and monotonic() + wait_s >= deadline_s:
                    call.abandoned()
                    raise failed.error from failed.__cause__
            except BizStatusError:
                raise
            except BaseException:
                call.abandoned()
                raise
            await asyncio.sleep(wait_s)
            now_s = monotonic()
            if deadline_s is not None:
                left_s = left(deadline_s)
        if result is None:
            return None  # oneway
        if isinstance(result, TApplicationException):
            raise result
        return answer(result)

    async def _attempt(
        self,
        call: "Call",
        method: Method,
        ready: Prepared,
        body: bytes,
        now_s: float,
        limit_s: float | None,
    ) -> Any:
        """One attempt, as `blocking.ThriftClient._attempt`."""
        address = call.address
        lines = self._lines()
        connection = lines.pool.idle(address, now_s)
        while True:
            if fresh := connection is None:
                connection = await lines.connect(address, limit_s)
            connection.deadline_s = None if limit_s is None else now_s + limit_s
            try:
                result, closes = await self._exchanged(call, method, ready, body, connection)
                break
            except Unsent as error:
                connection.close()
                if fresh:
                    raise attempts.never_sent(address, error) from error
                connection = lines.pool.idle(address, now_s)
            except (BizStatusError, MetadataError) as error:
                lines.pool.give(address, connection)
                if isinstance(error, BizStatusError):
                    call.succeeded()
                raise
            except BaseException as error:
                connection.close()
                if not isinstance(error, Exception):
                    raise
                lines.verdicts.forget(address)
                raise attempts.no_reply(method.path, address, limit_s, error) from error
        if closes:
            connection.close()
        else:
            lines.pool.give(address, connection)
        if type(result) is TApplicationException and reply.is_fault_of_endpoint(result):
            raise AttemptError(attempts.STATUS, result, attempts.INTERNAL_ERROR_STATUS)
        changes = call.response_changes
        if changes:
            reply.change_received(changes)
        call.succeeded()
        return result

    async def _exchanged(
        self,
        call: "Call",
        method: Method,
        ready: Prepared,
        body: bytes,
        connection: AsyncConnection,
    ) -> tuple[Any, bool]:
        """Writes the call and awaits what comes back: the decoded result, or None for oneway; and
        whether the endpoint is about to close the connection."""
        changes = call.request_changes
        if changes:
            frame = ready.changed(connection.wire, changes)
        else:
            frame = ready.by_wire.get(connection.wire) or ready.frame(connection.wire)
        seqid = connection.seqid = connection.seqid % MAX_SEQID + 1
        connection.send(frame(seqid, body))
        if method.oneway:
            return None, False
        if connection.reader is not None:
            return await reply.read_unframed_async(method, seqid, connection.reader), False
        data = await connection.frame()
        closes = data[4:6] == ttheader.MAGIC and reply.says_it_closes(data)
        return reply.read(method, seqid, data, _CODECS.codec), closes

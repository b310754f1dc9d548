"""Clients with blocking calls: `mesh.thrift("reviews:9080", ReviewsService)`.

A call: what it carries (`calls`), which endpoint takes it (`mesh.call`), a connection to there
(`pool`), one send, one read, and what came of it told to the `Call`, which says whether another
attempt follows. One client may be used by any number of threads at once, and in children of a
fork."""

import functools
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from thriftpy2.thrift import TApplicationException

from meltemi.proxyless.context import outgoing
from meltemi.proxyless.errors import CallTimeoutError
from meltemi.proxyless.thrift import attempts, probe, reply, ttheader
from meltemi.proxyless.thrift.attempts import AttemptError
from meltemi.proxyless.thrift.calls import SERVING, Prepared
from meltemi.proxyless.thrift.codec import Codec
from meltemi.proxyless.thrift.connection import MAX_SEQID, Connection, Expired, Unsent
from meltemi.proxyless.thrift.errors import BizStatusError, MetadataError, ThriftTimeoutError
from meltemi.proxyless.thrift.limits import after_wait, left, of_attempt
from meltemi.proxyless.thrift.pool import Pool
from meltemi.proxyless.thrift.service import Method, answer
from meltemi.proxyless.thrift.settings import Settings
from meltemi.proxyless.thrift.wire import Wire
from meltemi.proxyless.tracing import CallSpan, call_span

# First byte of the magic.
_TTHEADER = ttheader.MAGIC[0]

if TYPE_CHECKING:
    from meltemi.engine import Call
    from meltemi.proxyless.mesh import Mesh


class Lines:
    """Connections to endpoints: the pool, and what each endpoint speaks."""

    def __init__(self, settings: Settings, source_address: str | None) -> None:
        self._settings = settings
        self.verdicts = probe.Verdicts(settings.target)
        self.pool = Pool(source_address, self.verdicts.forget)
        self._asking: dict[str, threading.Lock] = {}
        _LINES.add(self)

    def in_child(self) -> None:
        """A forked child begins anew: sockets are the parent's, locks may be held by nobody."""
        self._asking = {}
        self.pool.forget()

    def connect(self, address: str, limit_s: float | None) -> Connection:
        """A new connection. `AttemptError` where there is none."""
        timeout_s = self._settings.connect_timeout_s
        if limit_s is not None and limit_s < timeout_s:
            timeout_s = limit_s
        try:
            wire = self._settings.wire or self._wire(address, limit_s)
            return self.pool.connect(address, wire, timeout_s)
        except OSError as error:
            self.verdicts.forget(address)
            raise attempts.not_connected(address, error) from error

    def _wire(self, address: str, limit_s: float | None) -> Wire:
        """What the endpoint speaks: asked once, by one thread, in the time that the call has."""
        wire = self.verdicts.known(address, monotonic())
        if wire is not None:
            return wire
        deadline_s = None if limit_s is None else monotonic() + limit_s
        asking = self._asking.setdefault(address, threading.Lock())
        if not asking.acquire(timeout=-1 if limit_s is None else limit_s):
            raise attempts.silent(address, limit_s)
        try:
            return self._found_wire(address, limit_s, deadline_s)
        finally:
            self._asking.pop(address, None)
            asking.release()

    def _found_wire(self, address: str, limit_s: float | None, deadline_s: float | None) -> Wire:
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
                answer = self._ask(address, asked, wait_s, deadline_s)
            now_s = monotonic()
            waited_s = now_s - began_s
            if not self.verdicts.answered(address, asked, answer, waited_s, now_s):
                raise attempts.silent(address, limit_s)
            if answer is probe.Answer.YES:
                return asked
        raise attempts.speaks_nothing(address)

    def _ask(
        self, address: str, wire: Wire, wait_s: float, deadline_s: float | None
    ) -> probe.Answer:
        timeout_s = self._settings.connect_timeout_s
        if deadline_s is not None:
            timeout_s = min(timeout_s, left(deadline_s))
        connection = self.pool.connect(address, wire, timeout_s)
        ends_s = monotonic() + wait_s
        if deadline_s is not None:
            ends_s = min(ends_s, deadline_s)
        try:
            connection.limit_until(ends_s)
            connection.send(probe.PROBES[wire], None)
            return probe.judge(wire, connection.read(4096))
        except Expired:
            return probe.Answer.SILENCE
        except (Unsent, ConnectionError):
            return probe.Answer.NO
        finally:
            connection.close()


_LINES: "weakref.WeakSet[Lines]" = weakref.WeakSet()


def _in_child() -> None:
    for lines in list(_LINES):
        lines.in_child()


os.register_at_fork(after_in_child=_in_child)


class ThriftClient:
    """Calls the methods of a service; each is an attribute, as on thriftpy2's client.

    It returns and raises what thriftpy2's does, and `meltemi.proxyless.errors` for what is about
    routing. A service's own `close` is called `tclose`, as there."""

    def __init__(
        self, mesh: "Mesh", target: Any, methods: list[Method], settings: Settings
    ) -> None:
        self._settings = settings
        self._target = target
        self._call = mesh.call
        self._patience_s = settings.limit.patience_s
        self._lines = Lines(settings, mesh.source_address)
        self._codecs: list[Codec] = []
        # A client sees few different limits of routes.
        self._limit_s = functools.lru_cache(64)(settings.limit.of_call)
        self._rpc_service = methods[0].path.split("/")[1] if methods else ""
        mesh.serves(target, f"/{self._rpc_service}/")
        for method in methods:
            name = "tclose" if method.name == "close" else method.name
            setattr(self, name, self._bound(method))

    def close(self) -> None:
        """Closes idle connections; those in use are closed when their call is over."""
        self._lines.pool.close()

    def __enter__(self) -> "ThriftClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._rpc_service} has no method {name!r}")

    def _bound(self, method: Method) -> Callable[..., Any]:
        arguments = method.arguments
        codecs, invoke = self._codecs, self._invoke
        prepared: Prepared | None = None
        target, settings = self._target, self._settings
        service, name = self._rpc_service, method.name

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal prepared
            struct = arguments(*args, **kwargs)
            try:
                codec = codecs.pop()
            except IndexError:
                codec = Codec()
            body = codec.encode(struct)
            span = call_span("thrift", service, name, target.host, target.port)
            carried = outgoing() if span is None else span.outgoing
            ready = prepared
            serving = SERVING.get()
            if ready is None or ready.carried is not carried or ready.serving is not serving:
                ready = prepared = Prepared(settings.caller, method, carried, serving)
            try:
                if span is None:
                    return invoke(method, ready, body, codec, None)
                return self._spanned(method, ready, body, codec, span)
            finally:
                codecs.append(codec)

        call.__name__ = name
        call.__qualname__ = f"{service}.{name}"
        return call

    def _spanned(
        self, method: Method, ready: Prepared, body: bytes, codec: Codec, span: CallSpan
    ) -> Any:
        calls: list[Call] = []
        try:
            result = self._invoke(method, ready, body, codec, calls)
        except BaseException as error:
            span.end(calls[0] if calls else None, error)
            raise
        span.end(calls[0] if calls else None)
        return result

    def _invoke(
        self,
        method: Method,
        ready: Prepared,
        body: bytes,
        codec: Codec,
        calls: "list[Call] | None",
    ) -> Any:
        began_s = monotonic()
        try:
            call = self._call(self._target, method.path, ready.attributes, self._patience_s)
        except CallTimeoutError as error:
            raise ThriftTimeoutError(str(error)) from error
        if calls is not None:
            calls.append(call)
        now_s = monotonic()
        limit_s = self._limit_s(call.timeout_s)
        limit_s = after_wait(limit_s, self._patience_s, now_s - began_s)
        per_try_s = call.per_try_timeout_s
        deadline_s = None if limit_s is None else now_s + limit_s
        left_s = limit_s
        while True:
            try:
                attempt_s = of_attempt(left_s, per_try_s) if per_try_s else left_s
                result = self._attempt(call, method, ready, body, codec, now_s, attempt_s)
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
            sleep(wait_s)
            now_s = monotonic()
            if deadline_s is not None:
                left_s = left(deadline_s)
        if result is None:
            return None  # oneway
        if isinstance(result, TApplicationException):
            raise result
        return answer(result)

    def _attempt(
        self,
        call: "Call",
        method: Method,
        ready: Prepared,
        body: bytes,
        codec: Codec,
        now_s: float,
        limit_s: float | None,
    ) -> Any:
        """One attempt: the decoded result, a `TApplicationException`, or None for oneway.
        `AttemptError` where it failed; `BizStatusError` is an answer."""
        address, lines = call.address, self._lines
        deadline_s = None if limit_s is None else now_s + limit_s
        connection, left_s = lines.pool.idle(address, now_s), limit_s
        while True:
            if fresh := connection is None:
                connection = lines.connect(address, limit_s)
                left_s = None if deadline_s is None else left(deadline_s)
            seqid = connection.seqid = connection.seqid % MAX_SEQID + 1
            try:
                if left_s != connection.limit_s:
                    connection.limit(left_s)
                frame = ready.by_wire.get(connection.wire) or ready.frame(connection.wire)
                if changes := call.request_changes:
                    frame = ready.changed(connection.wire, changes)
                data = frame(seqid, body)
                if connection.reader is not None or method.oneway:
                    result = _otherwise(method, connection, seqid, data, deadline_s)
                else:
                    data = connection.exchange(data, deadline_s)
                    result = reply.read(method, seqid, data, codec)
                closes = data[4] == _TTHEADER and reply.says_it_closes(data)
                break
            except Unsent as error:
                connection.close()
                if fresh:
                    raise attempts.never_sent(address, error) from error
                connection = lines.pool.idle(address, now_s)
            except (BizStatusError, MetadataError) as error:
                lines.pool.give(address, connection, monotonic())
                if isinstance(error, BizStatusError):
                    call.succeeded()
                raise
            except BaseException as error:
                connection.close()
                if not isinstance(error, Exception):
                    raise
                lines.verdicts.forget(address)
                raise attempts.no_reply(method.path, address, limit_s, error) from error
        # Not above: what a signal's handler raises would close what another thread has by now.
        if closes:
            connection.close()
        else:
            lines.pool.give(address, connection, monotonic())
        if type(result) is TApplicationException and reply.is_fault_of_endpoint(result):
            raise AttemptError(attempts.STATUS, result, attempts.INTERNAL_ERROR_STATUS)
        if changes := call.response_changes:
            reply.change_received(changes)
        call.succeeded()
        return result


def _otherwise(
    method: Method, connection: Connection, seqid: int, data: bytes, deadline_s: float | None
) -> Any:
    """Sends a call that has no reply, or one whose reply has no frame; its decoded result."""
    connection.send(data, deadline_s)
    if method.oneway:
        return None
    connection.deadline_s = deadline_s
    return reply.read_unframed(method, seqid, connection.reader)

"""Calls of gRPC that go on while their caller does something else: futures and streams.

`Attempts` is the call with its attempts, driven by what grpcio reports; `RunningRpc` is what the
application holds. They are two, so that a call whose holder forgot it is cancelled, as grpcio does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from meltemi.proxyless.grpc_calls import Metadata, Rpc
from meltemi.proxyless.grpc_ended import NotSentError
from meltemi.proxyless.grpc_replay import Replay

Code = grpc.StatusCode


class Attempts:
    """One call: its attempt of now, until one is the last.

    An attempt whose first response came is the last, as is one that none may follow.
    """

    def __init__(
        self,
        rpc: Rpc,
        route: Callable[[], NotSentError | None],
        begin: Callable[[Attempts], Any],
        replay: Replay | None,
    ) -> None:
        self.rpc = rpc
        self._route = route
        self._begin = begin
        self._replay = replay
        self.changed = threading.Condition()
        self.inner: Any = None  # grpcio's call of now
        self.settled = False  # `inner` ended and was the last
        self.cancelled = False
        self._committed = False
        self._callbacks: list[Callable[[], None]] = []
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Begins an attempt; never blocks but for a first route."""
        error = None if self.rpc.call is not None else self._route()
        if error is not None:
            self._again_or_over(error, self.rpc.unroutable())
            return
        inner = self._begin(self)
        with self.changed:
            self.inner = inner
            cancelled = self.cancelled
            self.changed.notify_all()
        if cancelled:
            inner.cancel()
        inner.add_done_callback(self._over)

    def received_by(self, deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
        """`deserializer`, which also marks that a response came: then this attempt is the last."""

        def received(message: bytes) -> Any:
            self.commit()
            return message if deserializer is None else deserializer(message)

        return received

    def commit(self) -> None:
        """There will be no other attempt."""
        self._committed = True
        if self._replay is not None:
            self._replay.forget()

    def _over(self, inner: Any) -> None:
        """grpcio's call ended; its thread runs this."""
        code = inner.code()
        if code is Code.OK:
            self.rpc.succeeded()
            self._settle()
        elif self.cancelled:
            self.rpc.abandoned()
            self._settle()
        else:
            again = not self._committed and (self._replay is None or self._replay.whole)
            self._again_or_over(inner, self.rpc.failed(code, inner.details(), again))

    def _again_or_over(self, inner: Any, wait_s: float | None) -> None:
        with self.changed:
            if wait_s is not None and not self.cancelled:
                self._timer = threading.Timer(wait_s, self._start_later)
                self._timer.daemon = True
                self._timer.start()
                return
            self.inner = inner
        self.rpc.ended(inner.code(), inner)
        self._settle()

    def _start_later(self) -> None:
        if self.cancelled:
            self._never_begun()
            return
        try:
            self.start()
        except Exception as error:  # the channel was closed meanwhile
            ended = NotSentError(Code.CANCELLED, str(error))
            with self.changed:
                self.inner = ended
            self.rpc.abandoned()
            self._settle()

    def _never_begun(self) -> None:
        with self.changed:
            self.inner = NotSentError(Code.CANCELLED, "Locally cancelled by application!")
        self.rpc.abandoned()
        self._settle()

    def _settle(self) -> None:
        with self.changed:
            if self.settled:
                return
            self.settled = True
            callbacks, self._callbacks = self._callbacks, []
            self.changed.notify_all()
        for callback in callbacks:
            callback()

    def cancel(self) -> bool:
        """Ends the call; False where it has ended."""
        with self.changed:
            if self.settled:
                return False
            self.cancelled = True
            timer, inner = self._timer, self.inner
        if timer is not None and timer.is_alive():
            timer.cancel()
            if inner is None or inner.done():
                self._never_begun()
        if inner is not None:
            inner.cancel()
        return True

    def wait_settled(self, timeout_s: float | None = None) -> bool:
        """Waits until the call has ended; False where it has not after `timeout_s`."""
        with self.changed:
            return self.changed.wait_for(lambda: self.settled, timeout_s)

    def wait_other_than(self, inner: Any) -> Any:
        """The attempt after `inner`, or `inner` if it was the last."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.settled or (self.inner is not None and self.inner is not inner)
            )
            return self.inner

    def when_settled(self, callback: Callable[[], None]) -> bool:
        """Calls `callback` at the end; False, and not called, where that is past."""
        with self.changed:
            if self.settled:
                return False
            self._callbacks.append(callback)
            return True


class RunningRpc(grpc.Call, grpc.Future):  # type: ignore[misc]
    """What an application holds of a call: grpcio's promises, over whatever attempts it takes."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def __del__(self) -> None:
        attempts = getattr(self, "_attempts", None)
        if attempts is not None and not attempts.settled:
            attempts.cancel()

    def __iter__(self) -> RunningRpc:
        return self

    def __next__(self) -> Any:
        attempts = self._attempts
        inner = attempts.wait_other_than(None)
        while True:
            try:
                return next(inner)
            except grpc.RpcError:
                following = attempts.wait_other_than(inner)
                if following is inner:
                    raise
                inner = following

    def _last(self) -> Any:
        self._attempts.wait_settled()
        return self._attempts.inner

    def initial_metadata(self) -> Metadata:
        inner = self._attempts.wait_other_than(None)
        while True:
            metadata = inner.initial_metadata()
            if not inner.done():
                self._attempts.commit()  # the caller has seen this attempt
                break
            following = self._attempts.wait_other_than(inner)
            if following is inner:
                break
            inner = following
        return self._attempts.rpc.received(metadata or ())

    def trailing_metadata(self) -> Metadata:
        metadata: Metadata = self._last().trailing_metadata()
        return metadata

    def code(self) -> grpc.StatusCode:
        return self._last().code()

    def details(self) -> str:
        return str(self._last().details())

    def debug_error_string(self) -> str:
        return str(self._last().debug_error_string())

    def is_active(self) -> bool:
        return not self._attempts.settled

    def time_remaining(self) -> float | None:
        left_s = self._attempts.rpc.deadline.left_s()
        return None if left_s is None else max(left_s, 0.0)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return self._attempts.when_settled(callback)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if not self._attempts.when_settled(lambda: fn(self)):
            fn(self)

    def cancel(self) -> bool:
        return self._attempts.cancel()

    def cancelled(self) -> bool:
        return self._attempts.cancelled

    def running(self) -> bool:
        return not self._attempts.settled

    def done(self) -> bool:
        return self._attempts.settled

    def _ended(self, timeout: float | None) -> Any:
        if not self._attempts.wait_settled(timeout):
            raise grpc.FutureTimeoutError
        return self._attempts.inner

    def result(self, timeout: float | None = None) -> Any:
        return self._ended(timeout).result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        error: BaseException | None = self._ended(timeout).exception()
        return error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        trace: TracebackType | None = self._ended(timeout).traceback()
        return trace


class EndedRpc(grpc.Call):  # type: ignore[misc]
    """The call object of a call that has ended: grpcio's, with the route's changes."""

    def __init__(self, rpc: Rpc, call: Any) -> None:
        self._rpc = rpc
        self._call = call

    def initial_metadata(self) -> Metadata:
        return self._rpc.received(self._call.initial_metadata() or ())

    def trailing_metadata(self) -> Metadata:
        metadata: Metadata = self._call.trailing_metadata()
        return metadata

    def code(self) -> grpc.StatusCode:
        return self._call.code()

    def details(self) -> str:
        return str(self._call.details())

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

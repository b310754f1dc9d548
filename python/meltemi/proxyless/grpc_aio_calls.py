"""Calls of grpc.aio over a mesh: what an application holds, whatever attempts its call takes.

A task (`_Call._attempt_until_last`) routes, begins attempts and waits for the first response; from
then on the attempt is the last, and the application reads it directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from meltemi.proxyless.errors import MeltemiError
from meltemi.proxyless.grpc_aio_replay import END, AioReplay
from meltemi.proxyless.grpc_calls import Rpc, status_of

Code = grpc.StatusCode
_CANCELLED = "Locally cancelled by application!"  # grpcio's words
_FINISHED = "RPC already finished."
Begin = Callable[[], Any]


class Call(grpc.aio.Call):  # type: ignore[misc]
    """What all four kinds of calls have in common."""

    def __init__(
        self,
        rpc: Rpc,
        route: Callable[[Rpc], Awaitable[None]],
        begin: Begin,
        replay: AioReplay | None = None,
    ) -> None:
        self._rpc = rpc
        self._route = route
        self._begin = begin
        self._replay = replay
        self._inner: Any = None
        self._committed = False
        self._status: grpc.aio.AioRpcError | None = None  # of a call without a last attempt
        self._ended = asyncio.Event()
        self._following = asyncio.get_running_loop().create_future()  # done by each new attempt
        self._cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._task = asyncio.create_task(self._attempt_until_last())
        self._task.add_done_callback(self._retrieved)

    async def _first_response(self, inner: Any) -> Any:
        raise NotImplementedError

    async def _attempt_until_last(self) -> Any:
        rpc = self._rpc
        try:
            while True:
                try:
                    if rpc.call is None:
                        await self._route(rpc)
                except MeltemiError as error:
                    code, details = status_of(error)
                    failure = _status(code, details)
                    failure.__cause__ = error
                    wait_s = rpc.unroutable()
                else:
                    self._inner = inner = self._begin()
                    self._following.set_result(None)
                    self._following = asyncio.get_running_loop().create_future()
                    try:
                        response = await self._first_response(inner)
                    except grpc.aio.AioRpcError as error:
                        failure = error
                        again = not self._committed and (self._replay is None or self._replay.whole)
                        wait_s = rpc.failed(error.code(), error.details(), again)
                    else:
                        self.commit()
                        inner.add_done_callback(self._inner_ended)
                        return response
                if wait_s is None:
                    rpc.ended(failure.code(), failure)
                    self._over(failure)
                    raise failure
                await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            self._cancelled = True
            if self._inner is not None:
                self._inner.cancel()
            rpc.abandoned()
            self._over(_status(Code.CANCELLED, _CANCELLED))
            raise

    def commit(self) -> None:
        """There will be no other attempt."""
        self._committed = True
        if self._replay is not None:
            self._replay.forget()

    def _inner_ended(self, inner: Any) -> None:
        """The last attempt ended, after its first response."""
        self._finishing = asyncio.ensure_future(self._account(inner))

    async def _account(self, inner: Any) -> None:
        code = await inner.code()
        if code is Code.OK:
            self._rpc.succeeded()
        elif inner.cancelled():
            self._rpc.abandoned()
        else:
            self._rpc.failed(code, await inner.details(), False)
            self._rpc.ended(code)
        self._over(None)

    def _over(self, status: grpc.aio.AioRpcError | None) -> None:
        if self._ended.is_set():
            return
        self._status = status
        self._ended.set()
        if self._replay is not None:
            self._replay.close()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    @staticmethod
    def _retrieved(task: asyncio.Task[Any]) -> None:
        """An application that never asks is not told again by asyncio."""
        if not task.cancelled():
            task.exception()

    # What grpc.aio promises of every call

    async def _metadata_of(self, inner: Any) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*self._rpc.received(tuple(await inner.initial_metadata() or ())))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        inner = await self._after(None)
        while inner is not None:
            metadata = await self._metadata_of(inner)
            if not inner.done():
                self.commit()  # the caller has seen this attempt
                return metadata
            following = await self._after(inner)
            if following is inner:
                return metadata
            inner = following
        return grpc.aio.Metadata()

    async def wait_for_connection(self) -> None:
        inner = await self._after(None)
        while inner is not None:
            try:
                await inner.wait_for_connection()
                return
            except grpc.aio.AioRpcError:
                following = await self._after(inner)
                if following is inner:
                    raise
                inner = following
        if self._status is not None:
            raise self._status

    async def _after(self, inner: Any) -> Any:
        """The attempt after `inner`, or `inner` if there will be none after it."""
        while self._inner is inner and not self._ended.is_set() and not self._task.done():
            await asyncio.wait({self._following, self._task}, return_when=asyncio.FIRST_COMPLETED)
        return self._inner

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._ended.wait()
        if self._status is not None:
            return self._status.trailing_metadata()
        return await self._inner.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        await self._ended.wait()
        return self._status.code() if self._status is not None else await self._inner.code()

    async def details(self) -> str:
        await self._ended.wait()
        told = self._status.details() if self._status is not None else await self._inner.details()
        return str(told)

    async def debug_error_string(self) -> str:
        """As grpcio's calls have it."""
        await self._ended.wait()
        if self._status is not None:
            return str(self._status.debug_error_string())
        return str(await self._inner.debug_error_string())

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._ended.is_set()

    def time_remaining(self) -> float | None:
        left_s = self._rpc.deadline.left_s()
        return None if left_s is None else max(left_s, 0.0)

    def cancel(self) -> bool:
        if self._ended.is_set():
            return False
        self._cancelled = True
        if not self._task.done():
            self._task.cancel()
        elif self._inner is not None:
            self._inner.cancel()
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._ended.is_set():
            callback(self)
        else:
            self._callbacks.append(callback)


class _OneResponse(Call):
    """A call that is awaited."""

    async def _first_response(self, inner: Any) -> Any:
        response = await inner
        self._rpc.succeeded()
        return response

    def _inner_ended(self, inner: Any) -> None:
        self._over(None)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._task.__await__()


class _Responses(Call):
    """A call that is read."""

    _first_was_read = False

    async def _first_response(self, inner: Any) -> Any:
        return await inner.read()

    async def read(self) -> Any:
        if not self._first_was_read:
            first = await self._task
            if not self._first_was_read:
                self._first_was_read = True
                return first
        return await self._inner.read()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterated()

    async def _iterated(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not grpc.aio.EOF:
            yield response


class _Requests(Call):
    """A call that may be written to, where it has no iterator of requests."""

    async def write(self, request: Any) -> None:
        await self._put(request)

    async def done_writing(self) -> None:
        if not self._ended.is_set():
            await self._put(END)

    async def _put(self, request: Any) -> None:
        assert self._replay is not None
        queue = self._replay.written
        if queue is None:
            raise grpc.aio.UsageError("this call has an iterator of requests: do not write to it")
        if self._ended.is_set():
            raise asyncio.InvalidStateError(_FINISHED)
        putting = asyncio.ensure_future(queue.put(request))
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({putting, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not putting.done():
                putting.cancel()
        if self._ended.is_set() and self._status is not None:
            raise self._status


class UnaryUnaryCall(_OneResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[misc]
    """One request, one response."""


class UnaryStreamCall(_Responses, grpc.aio.UnaryStreamCall):  # type: ignore[misc]
    """One request, many responses."""


class StreamUnaryCall(_OneResponse, _Requests, grpc.aio.StreamUnaryCall):  # type: ignore[misc]
    """Many requests, one response."""


class StreamStreamCall(_Responses, _Requests, grpc.aio.StreamStreamCall):  # type: ignore[misc]
    """Many requests, many responses."""


def _status(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details=details)

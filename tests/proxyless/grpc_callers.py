"""One face for a channel of `grpc` and one of `grpc.aio`: what both promise is tested once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

from meltemi.proxyless.mesh import Mesh
from versioned_grpc import SERVICE

T = TypeVar("T")


class Caller(Protocol):
    """Calls the methods of `versioned_grpc`; `more` is grpcio's own."""

    def one(self, request: bytes, **more: Any) -> bytes: ...
    def one_with_metadata(self, request: bytes, **more: Any) -> tuple[bytes, dict[str, Any]]: ...
    def many(self, request: bytes, **more: Any) -> list[bytes]: ...
    def sum(self, requests: Iterable[bytes], **more: Any) -> bytes: ...
    def talk(self, requests: Iterable[bytes], **more: Any) -> list[bytes]: ...


class Sync:
    """`mesh.grpc`."""

    def __init__(self, mesh: Mesh, target: str) -> None:
        self.channel = mesh.grpc(target)

    def one(self, request: bytes, **more: Any) -> bytes:
        response: bytes = self.channel.unary_unary(f"/{SERVICE}/One")(request, **more)
        return response

    def one_with_metadata(self, request: bytes, **more: Any) -> tuple[bytes, dict[str, Any]]:
        method = self.channel.unary_unary(f"/{SERVICE}/One")
        response, call = method.with_call(request, **more)
        return response, dict(call.initial_metadata())

    def many(self, request: bytes, **more: Any) -> list[bytes]:
        return list(self.channel.unary_stream(f"/{SERVICE}/Many")(request, **more))

    def sum(self, requests: Iterable[bytes], **more: Any) -> bytes:
        method = self.channel.stream_unary(f"/{SERVICE}/Sum")
        response: bytes = method(iter(requests), **more)
        return response

    def talk(self, requests: Iterable[bytes], **more: Any) -> list[bytes]:
        return list(self.channel.stream_stream(f"/{SERVICE}/Talk")(iter(requests), **more))


class Futures(Sync):
    """`mesh.grpc`, by futures."""

    def one(self, request: bytes, **more: Any) -> bytes:
        future = self.channel.unary_unary(f"/{SERVICE}/One").future(request, **more)
        response: bytes = future.result(20)
        return response

    def one_with_metadata(self, request: bytes, **more: Any) -> tuple[bytes, dict[str, Any]]:
        future = self.channel.unary_unary(f"/{SERVICE}/One").future(request, **more)
        return future.result(20), dict(future.initial_metadata())

    def sum(self, requests: Iterable[bytes], **more: Any) -> bytes:
        future = self.channel.stream_unary(f"/{SERVICE}/Sum").future(iter(requests), **more)
        response: bytes = future.result(20)
        return response


class Aio:
    """`mesh.grpc_aio`, a channel and a loop for each call."""

    def __init__(self, mesh: Mesh, target: str) -> None:
        self._mesh = mesh
        self._target = target

    def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def run() -> T:
            async with self._mesh.grpc_aio(self._target) as channel:
                return await work(channel)

        return asyncio.run(run())

    def one(self, request: bytes, **more: Any) -> bytes:
        return self.one_with_metadata(request, **more)[0]

    def one_with_metadata(self, request: bytes, **more: Any) -> tuple[bytes, dict[str, Any]]:
        async def work(channel: Any) -> tuple[bytes, dict[str, Any]]:
            call = channel.unary_unary(f"/{SERVICE}/One")(request, **more)
            return await call, dict(await call.initial_metadata())

        return self._run(work)

    def many(self, request: bytes, **more: Any) -> list[bytes]:
        async def work(channel: Any) -> list[bytes]:
            return [
                each async for each in channel.unary_stream(f"/{SERVICE}/Many")(request, **more)
            ]

        return self._run(work)

    def sum(self, requests: Iterable[bytes], **more: Any) -> bytes:
        async def work(channel: Any) -> bytes:
            response: bytes = await channel.stream_unary(f"/{SERVICE}/Sum")(iter(requests), **more)
            return response

        return self._run(work)

    def talk(self, requests: Iterable[bytes], **more: Any) -> list[bytes]:
        async def work(channel: Any) -> list[bytes]:
            call = channel.stream_stream(f"/{SERVICE}/Talk")(iter(requests), **more)
            return [each async for each in call]

        return self._run(work)

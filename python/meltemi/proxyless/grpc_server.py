"""gRPC servers: a call is served in the context that it came with, so that calls made for it carry
on its baggage, trace and metainfo.

    grpc.server(pool, interceptors=[grpc_server.interceptor()])
    grpc.aio.server(interceptors=[grpc_server.aio_interceptor()])

With `mesh=` marks of lanes are taken only of callers whose marks count.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from opentelemetry.context import Context, attach, detach

from meltemi.proxyless.context import incoming

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

_Contexts = Callable[[Any], Context]
"""From the context of a servicer to that of OpenTelemetry."""


def interceptor(*, mesh: Mesh | None = None) -> grpc.ServerInterceptor:
    """For `grpc.server`."""
    return _Interceptor(_Judging(mesh))


def aio_interceptor(*, mesh: Mesh | None = None) -> grpc.aio.ServerInterceptor:
    """For `grpc.aio.server`."""
    return _AioInterceptor(_Judging(mesh))


class _Judging:
    """Makes contexts of what came, without marks that their callers may not set."""

    def __init__(self, mesh: Mesh | None) -> None:
        self._guard = None
        if mesh is not None:
            from meltemi.proxyless.guard import Guard

            self._guard = Guard(mesh)

    def contexts(self, metadata: Any) -> _Contexts:
        """Who calls is known only when the call is served."""
        if self._guard is None:
            context = incoming(metadata)
            return lambda _: context
        from meltemi.proxyless.guard import peer_address, unmarked

        guard = self._guard

        def judged(servicer_context: Any) -> Context:
            denied = guard.denied(peer_address(servicer_context.peer()))
            return incoming(unmarked(metadata, denied))

        return judged


class _Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    def __init__(self, judging: _Judging) -> None:
        self._judging = judging

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        contexts = self._judging.contexts(details.invocation_metadata or ())
        return _rebuilt(handler, lambda serve: _within(serve, contexts, handler.response_streaming))


class _AioInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    def __init__(self, judging: _Judging) -> None:
        self._judging = judging

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        contexts = self._judging.contexts(details.invocation_metadata or ())

        def wrapped(serve: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.isasyncgenfunction(serve):
                return _within_generator(serve, contexts)
            if inspect.iscoroutinefunction(serve):
                return _within_coroutine(serve, contexts)
            return _within(serve, contexts, handler.response_streaming)

        return _rebuilt(handler, wrapped)


def _rebuilt(handler: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """`handler`, whose function is wrapped."""
    kind = "_".join(
        "stream" if streams else "unary"
        for streams in (handler.request_streaming, handler.response_streaming)
    )
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    serve = wrap(getattr(handler, kind))
    return make(serve, handler.request_deserializer, handler.response_serializer)


def _within(serve: Callable[..., Any], contexts: _Contexts, streams: bool) -> Callable[..., Any]:
    def served(request: Any, servicer_context: Any) -> Any:
        token = attach(contexts(servicer_context))
        try:
            return serve(request, servicer_context)
        finally:
            detach(token)

    def responses(request: Any, servicer_context: Any) -> Iterator[Any]:
        context = contexts(servicer_context)
        token = attach(context)
        try:
            made = iter(serve(request, servicer_context))
        finally:
            detach(token)
        while True:
            token = attach(context)  # for each response: the thread is not ours between them
            try:
                response = next(made)
            except StopIteration:
                return
            finally:
                detach(token)
            yield response

    return responses if streams else served


def _within_coroutine(serve: Callable[..., Any], contexts: _Contexts) -> Callable[..., Any]:
    async def served(request: Any, servicer_context: Any) -> Any:
        token = attach(contexts(servicer_context))
        try:
            return await serve(request, servicer_context)
        finally:
            detach(token)

    return served


def _within_generator(serve: Callable[..., Any], contexts: _Contexts) -> Callable[..., Any]:
    async def responses(request: Any, servicer_context: Any) -> AsyncIterator[Any]:
        token = attach(contexts(servicer_context))
        try:
            async for response in serve(request, servicer_context):
                yield response
        finally:
            detach(token)

    return responses

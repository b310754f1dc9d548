"""gRPC servers: a call is served in the context that it came with, so that calls made for it carry
on its baggage, trace and metainfo.

    grpc.server(pool, interceptors=[grpc_server.interceptor()])
    grpc.aio.server(interceptors=[grpc_server.aio_interceptor()])
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from opentelemetry.context import Context, attach, detach

from meltemi.proxyless.context import incoming


def interceptor() -> grpc.ServerInterceptor:
    """For `grpc.server`."""
    return _Interceptor()


def aio_interceptor() -> grpc.aio.ServerInterceptor:
    """For `grpc.aio.server`."""
    return _AioInterceptor()


class _Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        context = incoming(details.invocation_metadata or ())
        return _rebuilt(handler, lambda serve: _within(serve, context, handler.response_streaming))


class _AioInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        context = incoming(details.invocation_metadata or ())

        def wrapped(serve: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.isasyncgenfunction(serve):
                return _within_generator(serve, context)
            if inspect.iscoroutinefunction(serve):
                return _within_coroutine(serve, context)
            return _within(serve, context, handler.response_streaming)

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


def _within(serve: Callable[..., Any], context: Context, streams: bool) -> Callable[..., Any]:
    def served(request: Any, servicer_context: Any) -> Any:
        token = attach(context)
        try:
            return serve(request, servicer_context)
        finally:
            detach(token)

    def responses(request: Any, servicer_context: Any) -> Iterator[Any]:
        made = iter(served(request, servicer_context))
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


def _within_coroutine(serve: Callable[..., Any], context: Context) -> Callable[..., Any]:
    async def served(request: Any, servicer_context: Any) -> Any:
        token = attach(context)
        try:
            return await serve(request, servicer_context)
        finally:
            detach(token)

    return served


def _within_generator(serve: Callable[..., Any], context: Context) -> Callable[..., Any]:
    async def responses(request: Any, servicer_context: Any) -> AsyncIterator[Any]:
        token = attach(context)
        try:
            async for response in serve(request, servicer_context):
                yield response
        finally:
            detach(token)

    return responses

"""Serves a Thrift service until SIGTERM: each call with a span, and what is under way to its end.

An answer says by whom it was made, in its header: `served-by: reviews-v2-0,ratings-v2-0`."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import thriftpy2
import tracing
from meltemi.proxyless.errors import MeltemiError
from meltemi.proxyless.thrift import answer_with, mesh_server, received_metadata
from thriftpy2.contrib.aio.rpc import make_server
from thriftpy2.thrift import TApplicationException

LAST_CALLS_S = 5.0
LETS_GO_S = 3.0
"""Longer than a client keeps a connection that it does not use."""
CLOSES = "crrst"
"""Kitex's word, in the header of an answer, for: send no more over this connection."""
ME = os.environ.get("POD_NAME", "")

log = logging.getLogger("bookinfo")


def idl(name: str) -> Any:
    """The module of `idl/NAME.thrift`."""
    path = Path(__file__).with_name("idl") / f"{name}.thrift"
    return thriftpy2.load(str(path), module_name=f"{name}_thrift")


class HopError(Exception):
    """A service that was asked did not answer."""


@dataclass
class Answer:
    """What a service answered, and by whom that was made."""

    value: Any
    served_by: str


async def asked(service: str, call: Awaitable[Any]) -> Answer:
    """Raises HopError, which names the service."""
    with received_metadata() as received:
        try:
            value = await call
        except (MeltemiError, TApplicationException) as error:
            raise HopError(f"{service}: {error}") from error
    return Answer(value, received.get("served-by", service))


class Serving:
    """A handler around the application's: every method of it, with what each call needs."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self.under_way = 0
        self.is_ending = False

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        answer = getattr(self._handler, method)
        service = type(self._handler).__name__

        async def serve(*arguments: Any) -> Any:
            self.under_way += 1
            try:
                return await self._served(answer, service, method, arguments)
            finally:
                self.under_way -= 1

        return serve

    async def _served(self, answer: Any, service: str, method: str, arguments: Any) -> Any:
        with tracing.serving(
            f"{service}/{method}", rpc__system="thrift", rpc__service=service, rpc__method=method
        ):
            answer_with("served-by", ME)
            if self.is_ending:
                answer_with(CLOSES, "1")
            try:
                return await answer(*arguments)
            except HopError as error:
                log.error("%s/%s failed: %s", service, method, error)
                problem = TApplicationException.INTERNAL_ERROR
                raise TApplicationException(problem, str(error)) from error


def run(service: Any, handler: Any) -> None:
    """Serves at HOST:PORT; `handler` has the methods of the IDL, to be awaited."""
    logging.basicConfig(format="%(levelname)s %(message)s")
    tracing.install()
    asyncio.run(_run(service, Serving(handler)))


async def _run(service: Any, serving: Serving) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    server = mesh_server(make_server(service, serving, host, port, client_timeout=None, loop=loop))
    callers: set[Any] = set()

    async def handle(caller: Any) -> None:
        callers.add(caller)
        try:
            await server.handle(caller)
        finally:
            callers.discard(caller)

    server.trans.listen()
    listening = await server.trans.accept(handle)
    print(f"listening on {host}:{port}", flush=True)
    await stop.wait()
    listening.close()
    # Callers leave by themselves: nothing that they send meanwhile is lost.
    serving.is_ending = True
    await _until(lambda: not callers, LETS_GO_S)
    await _until(lambda: not serving.under_way, LAST_CALLS_S)
    for caller in callers:
        caller.close()
    await _until(lambda: not callers, LAST_CALLS_S)


async def _until(holds: Callable[[], bool], within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.01)

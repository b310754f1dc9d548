"""Takes OpenTelemetry's current context over to where Python does not: threads, pools, queues.

asyncio's tasks and `asyncio.to_thread` need nothing: Python gives them the context itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from opentelemetry.context import attach, detach, get_current

from meltemi.proxyless import baggage, metainfo
from meltemi.proxyless.context import Headers, incoming, outgoing

P = ParamSpec("P")
T = TypeVar("T")


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which will run in the context of now, whoever calls it, whenever and how often.

    For `threading.Thread(target=carry(work))`, `loop.run_in_executor(None, carry(work))` and
    callbacks. Coroutine functions are carried too.
    """
    context = get_current()
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def carried_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
            token = attach(context)
            try:
                return await function(*args, **kwargs)
            finally:
                detach(token)

        return cast("Callable[P, T]", carried_coroutine)

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        token = attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            detach(token)

    return carried


class CarryingExecutor(Executor):
    """A thread pool whose jobs run in the context of who submitted them.

    It wraps a pool and owns it: `shutdown` and leaving `with` end the pool. A pool of processes is
    not for it: a context does not travel there; use `inject` and `extracted`.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`; `map` goes through here."""
        return self._executor.submit(carry(function), *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown`, of the pool."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def inject(carrier: MutableMapping[str, str]) -> None:
    """Writes the current context into the headers of a message that is about to be queued.

    A `baggage` that the message already has is kept, and what it lacks is put behind it.
    """
    what = outgoing()
    for name, value in what.headers:
        if name == "baggage" and name in carrier:
            carrier[name] = baggage.appended(carrier[name], baggage.current())
        else:
            carrier.setdefault(name, value)
    for key, value in what.transient.items():
        carrier.setdefault(metainfo.TRANSIENT_PREFIX + key, value)
    for key, value in what.persistent.items():
        if key not in metainfo.RESERVED:
            carrier.setdefault(metainfo.PERSISTENT_PREFIX + key, value)


@contextmanager
def extracted(carrier: Headers) -> Iterator[None]:
    """While it lasts, the current context is what came with the message: one hop, as a call is.

    `carrier` is a mapping or pairs of names and values; values may be bytes (Kafka's are).
    """
    token = attach(incoming(carrier))
    try:
        yield
    finally:
        detach(token)

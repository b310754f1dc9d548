"""`grpc_replay` for asyncio: requests of a streaming call, kept while an attempt may need them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from meltemi.proxyless.grpc_replay import KEPT

END = object()
"""What `written` takes when there will be no more."""


class AioReplay:
    """Requests from an iterator, or from `write`, read once and given to each attempt.

    An attempt that fails is cancelled while it waits for a request; the wait itself goes on, and
    its request goes to the attempt that follows.
    """

    def __init__(self, requests: AsyncIterable[Any] | Iterable[Any] | None) -> None:
        self.written: asyncio.Queue[Any] | None = None
        if requests is None:
            self.written = asyncio.Queue(1)
            self._source = _of_queue(self.written)
        else:
            self._source = _of_iterable(requests)
        self._waiting: asyncio.Task[Any] | None = None
        self._kept: list[Any] = []
        self._exhausted = False
        self._attempt: object = None
        self.whole = True
        """Whether another attempt could send everything."""

    def forget(self) -> None:
        """There will be no other attempt: what comes is no longer kept."""
        self.whole = False

    def requests(self) -> AsyncIterator[Any]:
        """The requests for a new attempt; those of the attempt before end."""
        attempt = self._attempt = object()
        return self._read(attempt)

    def close(self) -> None:
        """The call is over: nobody waits for requests any longer."""
        self._attempt = None
        if self._waiting is not None:
            self._waiting.cancel()

    async def _read(self, attempt: object) -> AsyncIterator[Any]:
        place = 0
        while attempt is self._attempt:
            if place < len(self._kept):
                yield self._kept[place]
                place += 1
                continue
            if self._exhausted:
                return
            if self._waiting is None:
                self._waiting = asyncio.create_task(_next(self._source))
            waiting = self._waiting
            await asyncio.wait({waiting})  # which leaves it alone when this wait is cancelled
            if attempt is not self._attempt:
                return
            self._waiting = None
            request = waiting.result()
            if request is END:
                self._exhausted = True
            elif self.whole:
                self._kept.append(request)
                self.whole = len(self._kept) < KEPT
            else:
                yield request


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, END)


async def _of_queue(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (request := await queue.get()) is not END:
        yield request


async def _of_iterable(requests: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request

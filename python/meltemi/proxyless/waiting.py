"""Callers that wait for what the xDS thread will learn: threads and event loops alike."""

from __future__ import annotations

import asyncio
import threading
import time


class Changes:
    """A count that grows; who has seen one count waits for the next."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._futures: set[asyncio.Future[None]] = set()
        self.count = 0

    def notify(self) -> None:
        """From any thread."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()
            futures, self._futures = self._futures, set()
        for future in futures:
            try:
                future.get_loop().call_soon_threadsafe(_finish, future)
            except RuntimeError:
                continue  # its loop was closed: nobody waits any more

    def wait(self, seen: int, deadline: float) -> bool:
        """Whether the count changed since it was `seen`, before `deadline` (time.monotonic)."""
        with self._condition:
            while self.count == seen:
                left = deadline - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
                    return self.count != seen
            return True

    async def wait_async(self, seen: int, deadline: float) -> bool:
        """The same, for a coroutine of any loop."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._condition:
            if self.count != seen:
                return True
            self._futures.add(future)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await future
        except TimeoutError:
            return self.count != seen
        finally:
            with self._condition:
                self._futures.discard(future)
        return True


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

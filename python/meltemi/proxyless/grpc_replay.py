"""Requests of a streaming call, kept until it is certain that no attempt will need them again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

KEPT = 64  # messages; a call that sent more is not attempted again


class Replay:
    """An application's iterator of requests, read once and given to each attempt from its start.

    The thread of an attempt that failed may still wait in the application's iterator. What it gets
    there goes to the attempt that follows: nothing is lost, nothing comes twice.
    """

    def __init__(self, requests: Iterable[Any]) -> None:
        self._source = iter(requests)
        self._pulling = threading.Lock()  # held by who reads the application's iterator
        self._kept: list[Any] = []
        self._exhausted = False
        self._attempt: object = None
        self.whole = True
        """Whether another attempt could send everything."""

    def forget(self) -> None:
        """There will be no other attempt: what comes is no longer kept."""
        self.whole = False

    def requests(self) -> Iterator[Any]:
        """The requests for a new attempt; those of the attempt before end."""
        attempt = self._attempt = object()
        return self._read(attempt)

    def _read(self, attempt: object) -> Iterator[Any]:
        place = 0
        while attempt is self._attempt:
            if place < len(self._kept):
                yield self._kept[place]
                place += 1
                continue
            with self._pulling:
                if place < len(self._kept):  # by the attempt before, which was waiting here
                    continue
                if attempt is not self._attempt or self._exhausted:
                    return
                try:
                    request = next(self._source)
                except StopIteration:
                    self._exhausted = True
                    return
                kept = self.whole or attempt is not self._attempt
                if kept:
                    self._kept.append(request)
                    self.whole = self.whole and len(self._kept) < KEPT
            if not kept:
                yield request

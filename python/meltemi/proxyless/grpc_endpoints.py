"""grpcio's channels to single endpoints, as the gRPC integrations use and retire them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

IDLE_S = 300.0  # a channel whose endpoint was not chosen for so long is closed
C = TypeVar("C")


class Endpoint(Generic[C]):
    """grpcio's channel to one address."""

    __slots__ = ("__weakref__", "active", "channel", "used_at")

    def __init__(self, channel: C) -> None:
        self.channel = channel
        self.active = 0
        self.used_at = 0.0


class Endpoints(Generic[C]):
    """The channels to the endpoints that calls went to lately, by address."""

    def __init__(self, make: Callable[[str], C], close: Callable[[C], None]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._known: dict[str, Endpoint[C]] = {}
        self._of_parents: list[dict[str, Endpoint[C]]] = []

    def began(self, address: str) -> Endpoint[C]:
        """The endpoint at `address`, for an attempt that begins; `over` ends it."""
        idle: list[Endpoint[C]] = []
        with self._lock:
            endpoint = self._known.get(address)
            if endpoint is None:
                idle = self._take_idle()
                endpoint = self._known[address] = Endpoint(self._make(address))
            endpoint.active += 1
        for left in idle:
            self._close(left.channel)
        return endpoint

    def over(self, endpoint: Endpoint[C]) -> None:
        """An attempt ended."""
        with self._lock:
            endpoint.active -= 1
            endpoint.used_at = time.monotonic()

    def _take_idle(self) -> list[Endpoint[C]]:
        since = time.monotonic() - IDLE_S
        idle = {
            address: endpoint
            for address, endpoint in self._known.items()
            if not endpoint.active and endpoint.used_at < since
        }
        for address in idle:
            del self._known[address]
        return list(idle.values())

    def close(self) -> None:
        """Closes every channel; calls in flight on them are cancelled."""
        with self._lock:
            known, self._known = self._known, {}
        for endpoint in known.values():
            self._close(endpoint.channel)

    def forked(self) -> None:
        """In a child process: nothing of the parent is used, nor is its lock."""
        self._lock = threading.Lock()
        self._of_parents.append(
            self._known
        )  # to end one is to touch what the parent's threads held
        self._known = {}

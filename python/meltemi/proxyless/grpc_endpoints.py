"""grpcio's channels to single endpoints, as the gRPC integrations use and retire them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

IDLE_S = 300.0  # a channel whose endpoint was not chosen for so long is closed
FORK_WAIT_S = 1.0  # how long a fork waits for calls in flight
C = TypeVar("C")


class Endpoint(Generic[C]):
    """grpcio's channel to one address."""

    __slots__ = ("__weakref__", "active", "channel", "used_at")

    def __init__(self, channel: C) -> None:
        self.channel = channel
        self.active = 0
        self.used_at = 0.0


class Endpoints(Generic[C]):
    """The channels to the endpoints that calls went to lately, by address.

    grpcio's channels that are open while a process forks abort the child. So a fork (of any thread)
    waits for the calls in flight, for a moment, and closes all channels; calls that begin meanwhile
    wait for it, and connect anew. What takes longer, as streams do, is cancelled.
    """

    def __init__(
        self,
        make: Callable[[str], C],
        close: Callable[[C], None],
        closes_before_fork: bool = True,
    ) -> None:
        self._make = make
        self._close = close
        self._changed = threading.Condition()
        self._known: dict[str, Endpoint[C]] = {}
        self._forking = False
        self._closes_before_fork = closes_before_fork  # grpc.aio's close in their loop only
        self._of_parents: list[dict[str, Endpoint[C]]] = []
        _all.add(self)

    def began(self, address: str) -> Endpoint[C]:
        """The endpoint at `address`, for an attempt that begins; `over` ends it."""
        idle: list[Endpoint[C]] = []
        with self._changed:
            while self._forking:
                self._changed.wait()
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
        with self._changed:
            endpoint.active -= 1
            endpoint.used_at = time.monotonic()
            if self._forking:
                self._changed.notify_all()

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
        with self._changed:
            known, self._known = self._known, {}
        for endpoint in known.values():
            self._close(endpoint.channel)

    def before_fork(self) -> None:
        """No call goes on, and no channel is open, until `after_fork`."""
        if not self._closes_before_fork:
            return
        with self._changed:
            self._forking = True
            self._changed.wait_for(
                lambda: not any(each.active for each in self._known.values()), FORK_WAIT_S
            )
        self.close()

    def after_fork(self) -> None:
        """In the parent: calls go on."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def in_child(self) -> None:
        """In a forked child: nothing of the parent is used, nor are its locks."""
        self._changed = threading.Condition()
        self._forking = False
        self._of_parents.append(
            self._known
        )  # to end one is to touch what the parent's threads held
        self._known = {}


_all: WeakSet[Endpoints[Any]] = WeakSet()


def _forks() -> None:
    for each in list(_all):
        each.before_fork()


def _forked() -> None:
    for each in list(_all):
        each.after_fork()


def _born() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(before=_forks, after_in_parent=_forked, after_in_child=_born)

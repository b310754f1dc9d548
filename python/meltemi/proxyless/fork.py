"""What happens to meshes when their process forks: a pre-forking server's children go on by
themselves. `Mesh` says what that means; this knows which meshes there are."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Final, Protocol

log = logging.getLogger("meltemi.proxyless")


class Forked(Protocol):
    """Wants to know of forks."""

    def before_fork(self) -> None: ...
    def after_fork_in_child(self) -> None: ...


_following: Final[weakref.WeakSet[Forked]] = weakref.WeakSet()


def follow(each: Forked) -> None:
    """Tells it of every fork, as long as it lives."""
    _following.add(each)


def _before() -> None:
    for each in list(_following):
        try:
            each.before_fork()
        except Exception:
            log.exception("cannot prepare for a fork")


def _after_in_child() -> None:
    for each in list(_following):
        try:
            each.after_fork_in_child()
        except Exception:
            log.exception("cannot begin anew in a forked child")


os.register_at_fork(before=_before, after_in_child=_after_in_child)

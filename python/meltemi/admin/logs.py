"""The log of a process: one line an event, on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

LEVELS = {
    # Envoy's names on the left, as `/logging?level=` takes them.
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 1,
}


class OneLine(logging.Formatter):
    """`2026-01-02T03:04:05.678Z warning controlplane: what happened`, control characters escaped.

    Values from the wire can thus neither forge a line nor move a terminal's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        room = record.name.removeprefix("meltemi.")
        line = f"{seconds}.{int(record.msecs):03d}Z {record.levelname.lower():7} {room}: "
        line += record.getMessage()
        if record.exc_info:
            line += " | " + self.formatException(record.exc_info)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class LoopProblems:
    """What an event loop could not do, as one line: out of descriptors, asyncio says the same for
    every place in a listener's backlog. The same message is said once in AGAIN_S."""

    AGAIN_S = 10.0

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = str(context.get("message", "the event loop failed"))
        now = loop.time()
        if now - self._said.get(message, -self.AGAIN_S) >= self.AGAIN_S:
            self._said[message] = now
            self._log.error("%s: %s", message, context.get("exception") or "no reason known")


def start_log(level: str = "info") -> None:
    """Sends what this process logs to standard error, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Raises KeyError for a name that is not in LEVELS."""
    logging.getLogger("meltemi").setLevel(LEVELS[level])


def level() -> str:
    return logging.getLevelName(logging.getLogger("meltemi").getEffectiveLevel()).lower()

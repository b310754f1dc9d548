"""The status by which a server ended a call of grpc.aio, where grpcio would put another over it.

A server may end a call that still writes. grpcio 1.85's `grpc.aio` calls the write that then fails
INTERNAL ("Internal error from Core"), in the place of the status that the server sent or is about
to (https://github.com/grpc/grpc/issues/36066): a call that should go to another endpoint fails.
grpcio has no public place where this can be prevented, so its own call object is wrapped; a grpcio
without that object behaves as it does by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

STATUS_WAIT_S = 10.0
"""How long a failed write waits for the server's status, which comes behind unread responses."""


def keep_status(call: Any) -> None:
    """Makes `call`, of grpc.aio and just begun, end with its server's status."""
    core = getattr(call, "_cython_call", None)
    if core is not None:
        call._cython_call = _Core(core)


class _Core:
    """grpcio's own call object, but for what a failed write does."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    async def send_serialized_message(self, message: bytes) -> None:
        try:
            await self._core.send_serialized_message(message)
        except Exception:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._core.status(), STATUS_WAIT_S)
            raise

    def set_internal_error(self, text: str) -> None:
        """The failed write's status, for a call that has none."""
        if not self._core.done():
            self._core.set_internal_error(text)

"""Where the processes of a mesh send their traces: to the receiver of `meltemi up`, or where its
user said before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from meltemi.traces.receiver import FIRST_PORT, PORTS, Receiver, bound

log = logging.getLogger("meltemi.local")

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
THEIRS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT)
"""In the order in which an SDK reads them; either says that the user has a collector."""


class Tracing:
    """`environment` are the variables of the user's shell."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.collector = next(filter(None, map(environment.get, THEIRS)), None)
        """The endpoint that the user named."""
        self.address: str | None = None
        """`http://HOST:PORT` of the receiver while it serves."""
        self._receiver: Receiver | None = None

    async def start(self) -> None:
        """Serves, unless the user has a collector. Without a free port the mesh runs without."""
        if self.collector is not None:
            return
        try:
            listening = bound()
        except OSError as error:
            ports = f"{FIRST_PORT}-{FIRST_PORT + PORTS - 1}"
            log.warning("no traces: no port of %s is free (%s)", ports, error.strerror)
            return
        self._receiver = Receiver()
        await self._receiver.start(listening)
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"

    async def close(self) -> None:
        if self._receiver is not None:
            await self._receiver.close()

    def environment(self) -> dict[str, str]:
        """What children find: where to export to and, where the mesh has them, to read traces."""
        if self.address is None:
            return {"MELTEMI_TRACES": ""}  # not that of a mesh around this one
        return {
            ENDPOINT: self.address,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "MELTEMI_TRACES": self.address,
        }

    def described(self) -> dict[str, Any]:
        """For `meltemi status`."""
        return {"receiver": self.address, "collector": self.collector}

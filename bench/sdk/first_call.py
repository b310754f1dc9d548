"""How often a process that starts cold asks its control plane before its first call is sent (G25).

Counted, not timed: what both sides say passes through a relay that lets them speak in turn. It
gathers all that one side says until that is silent, hands it over as one, and listens to the other.
Each answer that the client was handed before its first call was over is a round trip. TCP's own
handshake is none of it."""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane import documents, processes
from meltemi.proxyless import thrift

from sdk import client, service

SERVICES: Final = 100
SILENT_S: Final = 0.2
"""Who says nothing for so long has said what it wants to say."""
PATIENCE_S: Final = 1.0
"""How long an answer is waited for."""
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class FirstCall:
    """Of one process."""

    round_trips: int


class Relay:
    """Between one client and its server, which speak in turn. `trips`: answers to the client."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.trips = 0
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            ours, _ = self._listening.accept()
            with ours, socket.create_connection(self._server) as theirs:
                while (said := _heard(ours, None)) != b"":
                    theirs.sendall(said)
                    answer = _heard(theirs, PATIENCE_S)
                    self.trips += 1
                    ours.sendall(answer)


def _heard(side: socket.socket, patience_s: float | None) -> bytes:
    """All that a side says until it is silent; nothing where it has not begun in time, or ended."""
    heard = b""
    while select.select([side], [], [], SILENT_S if heard else patience_s)[0]:
        data = side.recv(READ_BYTES)
        if not data:
            break
        heard += data
    return heard


def first_call() -> FirstCall:
    """One that is made at once after connecting; the reply is checked."""
    hello = service.loaded().HelloService  # before: to import it takes longer than to ask
    (port,) = processes.free_ports(1)
    with (
        service.served(port),
        tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder,
    ):
        directory = Path(folder)
        documents.write(directory, SERVICES, 10)
        service.write(directory, port)
        with processes.control_plane(directory) as plane:
            relay = Relay(plane.xds)
            try:
                with client.connected(relay.address) as mesh:
                    caller = thrift.client(mesh, service.TARGET, hello)
                    if caller.sayHello(client.TEXT) != client.TEXT:
                        raise RuntimeError("a reply was wrong")
                    return FirstCall(relay.trips)
            finally:
                relay.close()


if __name__ == "__main__":
    print(first_call())

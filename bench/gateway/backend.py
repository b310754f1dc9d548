"""An HTTP server that answers every request alike, as cheaply as Python can.

    python -m gateway.backend PORT

Ends with SIGTERM."""

from __future__ import annotations

import selectors
import socket
import sys
from typing import Final

ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
MARKED: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nmarked"
MARK: Final = b"baggage: env="


def main() -> None:
    selector = selectors.DefaultSelector()
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if connection is server:
                accepted, _ = server.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
            elif request := connection.recv(65536):
                connection.sendall(MARKED if MARK in request else ANSWER)
            else:
                selector.unregister(connection)
                connection.close()


if __name__ == "__main__":
    main()

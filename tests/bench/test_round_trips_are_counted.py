from __future__ import annotations

import socket
import threading

from sdk.first_call import Relay

HELLO = b"hello"


def _server(listening: socket.socket) -> None:
    """Answers whatever it reads, in two pieces."""
    connection, _ = listening.accept()
    with connection:
        while connection.recv(100):
            connection.sendall(b"an ")
            connection.sendall(b"answer")


def _answer(connection: socket.socket) -> bytes:
    heard = b""
    while not heard.endswith(b"answer"):
        heard += connection.recv(100)
    return heard


def test_what_a_client_says_before_it_is_answered_is_one_round_trip() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_server, args=(listening,), daemon=True).start()
        relay = Relay(f"127.0.0.1:{listening.getsockname()[1]}")
        host, _, port = relay.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(HELLO)
            client.sendall(HELLO)
            assert (_answer(client), relay.trips) == (b"an answer", 1)
            client.sendall(HELLO)
            assert (_answer(client), relay.trips) == (b"an answer", 2)
        relay.close()

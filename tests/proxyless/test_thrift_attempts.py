"""Attempts of blocking calls: who is asked next, and how long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.errors import CallTimeoutError, ConnectError
from thrift_calls import client_of, reply_to
from thrift_peers import Scripted
from thriftpy2.transport.base import TTransportException


def test_a_refused_connection_goes_to_the_next_endpoint(
    module: Any, free_port: Callable[[], int]
) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, f"127.0.0.1:{free_port()}", peer.address)
    client.nothing("t")
    assert client.mesh.told == [("failed", "connect-failure", None), ("succeeded", None)]
    peer.close()


def test_when_no_endpoint_can_be_reached_it_says_which(
    module: Any, free_port: Callable[[], int]
) -> None:
    port = free_port()
    client = client_of(module, f"127.0.0.1:{port}")
    with pytest.raises(
        ConnectError, match=rf"cannot connect to 127\.0\.0\.1:{port}: .*refused"
    ) as no:
        client.nothing("t")
    assert isinstance(no.value, TTransportException)
    assert no.value.type == TTransportException.NOT_OPEN


def test_a_call_whose_reply_is_cut_is_not_sent_again_by_itself(module: Any) -> None:
    peer = Scripted(lambda data: reply_to(data)[:9])
    client = client_of(module, peer.address)
    peer_close = threading.Timer(0.1, lambda: peer.connections[0].shutdown(socket.SHUT_RDWR))
    peer_close.start()
    with pytest.raises(
        mesh_thrift.ConnectionLostError, match=r"no reply to /reviews\.Reviews/nothing"
    ):
        client.nothing("t")
    assert len(peer.read) == 1
    assert client.mesh.told == [("failed", "reset", None)]
    peer.close()


def test_a_retry_that_the_route_allows_goes_to_the_next_endpoint(module: Any) -> None:
    bad = Scripted(lambda _data: None)
    good = Scripted(reply_to)
    client = client_of(module, bad.address, good.address)
    client.nothing("t")
    assert client.mesh.told == [("failed", "reset", None), ("succeeded", None)]
    for peer in (bad, good):
        peer.close()


@pytest.mark.parametrize(
    ("said", "route", "per_try", "waits"),
    [
        (0.2, None, None, 0.2),
        (0.2, 0.0, None, 0.2),
        (5.0, 0.2, None, 0.2),
        (None, 0.2, None, 0.2),
        (5.0, 5.0, 0.2, 0.2),
    ],
)
def test_the_smallest_of_all_time_limits_holds(
    module: Any, said: float | None, route: float | None, per_try: float | None, waits: float
) -> None:
    peer = Scripted(lambda _data: b"")
    client = client_of(
        module, peer.address, timeout_s=said, timeout_s_of_route=route, per_try=per_try
    )
    began = time.monotonic()
    with pytest.raises(CallTimeoutError, match=r"no reply to /reviews\.Rev.* within 0.2 s") as e:
        client.nothing("t")
    assert waits * 0.9 <= time.monotonic() - began < waits + 1
    assert isinstance(e.value, TimeoutError)
    assert client.mesh.told == [("failed", "timeout", None)]
    # The reply may still come: nobody must take it for that of a later call.
    peer._answer = reply_to
    client.nothing("u")
    assert len(peer.connections) == 2
    peer.close()


@pytest.mark.parametrize("wire", ["ttheader", "unframed"])
def test_a_reply_that_comes_in_pieces_is_limited_as_a_whole(module: Any, wire: str) -> None:
    def dribble(data: bytes) -> bytes | None:
        framed = data if wire == "ttheader" else len(data).to_bytes(4, "big") + data
        reply = reply_to(framed)
        for byte in reply[0 if wire == "ttheader" else 4 : -1]:
            peer.connections[0].sendall(bytes([byte]))
            time.sleep(0.05)
        return b""

    peer = Scripted(dribble)
    client = client_of(module, peer.address, timeout_s=0.3, wire=wire)
    began = time.monotonic()
    with pytest.raises(CallTimeoutError):
        client.nothing("t")
    assert time.monotonic() - began < 1
    peer.close()

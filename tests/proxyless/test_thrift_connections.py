"""Connections of blocking calls: what is asked of a new one, and which is used again."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.errors import CallTimeoutError, MeltemiError
from meltemi.proxyless.thrift import message, probe
from meltemi.proxyless.thrift.request import parse
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from thrift_calls import client_of, reply_to
from thrift_peers import Handler, Scripted, mesh_of


def test_a_server_that_reads_ttheader_is_found_by_one_question(
    module: Any, handler: Handler, wrapped: str, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []
    handler.seen = called.append
    client = client_of(module, wrapped, wire="auto")
    token = attach(baggage.set_baggage("env", "dev"))
    try:
        handler.seen = lambda method: called.append(str(baggage.get_baggage("env")))
        client.echo("a")
        client.echo("b")
    finally:
        detach(token)
    assert called == ["dev", "dev"]
    assert not [each for each in caplog.records if each.name.startswith("meltemi")]


def test_a_probe_is_never_the_users_request(module: Any) -> None:
    """A peer that closes whatever comes gets four questions, and not the call."""
    peer = Scripted(lambda _data: None)
    client = client_of(module, peer.address, wire="auto")
    with pytest.raises(MeltemiError, match="answered in none of TTHeader, THeader, framed"):
        client.echo("secret")
    assert len(peer.read) == 4
    assert not any(b"secret" in each for each in peer.read)
    assert all(probe.METHOD.encode() in each for each in peer.read)
    assert client.mesh.told == [("failed", "connect-failure", None)]
    peer.close()


def test_an_endpoint_that_waits_for_more_of_a_question_is_asked_the_next(module: Any) -> None:
    """As a reader may do that takes the magic for the length of a name."""
    peer = Scripted(lambda data: b"" if data[4:6] in (b"\x10\0", b"\x0f\xff") else reply_to(data))
    with client_of(module, peer.address, wire="auto") as client:
        client.nothing("t")
        client.nothing("u")
    assert len(peer.read) == 5
    peer.close()


def test_what_a_call_without_time_learned_of_an_endpoint_serves_the_next(module: Any) -> None:
    peer = Scripted(lambda data: b"" if data[4:6] in (b"\x10\0", b"\x0f\xff") else reply_to(data))
    with client_of(module, peer.address, wire="auto", timeout_s=0.3) as client:
        silent = r"did not say within 0.3 s which Thrift it speaks; the call was not sent"
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(CallTimeoutError, match=silent):
                client.nothing("t")
            assert time.monotonic() - began < 0.6
        client.nothing("t")
        assert client.mesh.told == [("failed", "timeout", None)] * 3 + [("succeeded", None)]
    peer.close()


def test_a_silent_endpoint_keeps_no_call_to_another_waiting(module: Any) -> None:
    silent = Scripted(lambda _data: b"")
    answers = Scripted(reply_to)
    with (
        client_of(module, silent.address, wire="auto", timeout_s=1.5) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        asking = pool.submit(client.nothing, "t")
        while not silent.read:
            time.sleep(0.001)
        client.mesh.addresses = (answers.address,)
        began = time.monotonic()
        client.nothing("u")
        assert time.monotonic() - began < 0.4
        client.mesh.addresses = (silent.address,)
        with pytest.raises(CallTimeoutError):
            asking.result()
    silent.close()
    answers.close()


def test_who_waits_for_what_another_asks_waits_no_longer_than_its_time(module: Any) -> None:
    silent = Scripted(lambda _data: b"")
    client = client_of(module, silent.address, wire="auto", timeout_s=0.3)
    patient = client_of(module, silent.address, wire="auto", timeout_s=1.5)
    client._lines = patient._lines
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(patient.nothing, "t")
        while not silent.read:
            time.sleep(0.001)
        began = time.monotonic()
        with pytest.raises(CallTimeoutError, match=r"did not say within 0\.3 s"):
            client.nothing("u")
        assert time.monotonic() - began < 0.8
        with pytest.raises(CallTimeoutError):
            asking.result()
    silent.close()


def test_connections_are_used_again_the_last_first(module: Any) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    for _ in range(20):
        client.nothing("t")
    assert len(peer.connections) == 1
    seqids = [message.read_head(parse(each).payload, 0).seqid for each in peer.read]
    assert seqids == list(range(1, 21))
    peer.close()


def test_a_connection_that_its_peer_closed_costs_no_call(module: Any) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    for _ in range(5):
        client.nothing("t")
        peer.connections[-1].shutdown(socket.SHUT_RDWR)
        time.sleep(0.02)
    assert len(peer.connections) == 5
    assert {each[0] for each in client.mesh.told} == {"succeeded"}
    peer.close()


def test_a_connection_that_kitex_is_about_to_close_is_not_used_again(module: Any) -> None:
    def answer(data: bytes) -> bytes:
        request = parse(data)
        head = message.read_head(request.payload, 0)
        whole = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
        return request.framed(whole, {"crrst": "1"})

    peer = Scripted(answer)
    client = client_of(module, peer.address)
    for _ in range(3):
        client.nothing("t")
    assert len(peer.connections) == 3
    peer.close()


def test_a_connection_that_was_idle_is_closed_instead_of_used(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltemi.proxyless.thrift.pool.IDLE_S", 0.05)
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    client.nothing("t")
    time.sleep(0.1)
    client.nothing("t")
    assert len(peer.connections) == 2
    peer.close()


def test_connections_come_from_the_meshs_address(module: Any) -> None:
    came: list[str] = []
    peer = Scripted(reply_to)
    mesh = mesh_of(peer.address)
    mesh.source_address = "127.0.0.9"
    client = mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire="framed")
    client.nothing("t")
    came.append(peer.connections[0].getpeername()[0])
    assert came == ["127.0.0.9"]
    assert peer.connections[0].getsockname()[0] == "127.0.0.1"
    peer.close()


def test_one_client_serves_many_threads_at_once(
    module: Any, handler: Handler, wrapped: str
) -> None:
    barrier = threading.Barrier(8)

    def together(_method: str) -> None:
        barrier.wait(10)

    handler.seen = together
    client = client_of(module, wrapped, wire="auto")

    def call(i: int) -> list[str]:
        return [client.echo(f"{i}-{j}") for j in range(20)]

    with ThreadPoolExecutor(8) as threads:
        for i, answers in enumerate(threads.map(call, range(8))):
            assert answers == [f"{i}-{j}" for j in range(20)]


def test_a_forked_child_makes_connections_of_its_own(
    module: Any, handler: Handler, wrapped: str
) -> None:
    client = client_of(module, wrapped, wire="auto")
    assert client.echo("parent") == "parent"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"".join(client.echo("c").encode() for _ in range(50)))
        finally:
            os._exit(0)
    answers = [client.echo("p") for _ in range(50)]
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"c" * 50
    os.waitpid(child, 0)
    assert answers == ["p"] * 50


# --- failures ---

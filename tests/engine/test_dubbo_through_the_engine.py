"""Frames that Apache Dubbo wrote, through a running engine: routed, multiplexed, answered."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_mesh import Mesh, listener, start_engine, to

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dubbo" / "frames.jsonl"
HEADER_BYTES = 16
ID = slice(4, 12)
ONEWAY, EVENT = 0x40, 0x20


def golden(name: str) -> bytes:
    for line in GOLDEN.read_text().splitlines():
        frame = json.loads(line)
        if frame["name"] == name:
            return bytes.fromhex(frame["hex"])
    raise AssertionError(f"there is no golden frame {name}")


def with_id(frame: bytes, number: int) -> bytes:
    return frame[:4] + number.to_bytes(8, "big") + frame[12:]


def read(sock: socket.socket) -> bytes:
    """The next frame; empty where the peer has closed."""
    frame = b""
    want = HEADER_BYTES
    while len(frame) < want:
        more = sock.recv(want - len(frame))
        if not more:
            return b""
        frame += more
        if len(frame) == HEADER_BYTES:
            want += int.from_bytes(frame[12:16], "big")
    return frame


class _Provider(socketserver.BaseRequestHandler):
    """Answers each two-way call with the golden reply; remembers what came, byte for byte."""

    server: _Server

    def handle(self) -> None:
        self.server.connections += 1
        while frame := read(self.request):
            self.server.seen.append(frame)
            if frame[2] & ONEWAY:
                reply = golden(self.server.reply)
                self.request.sendall(with_id(reply, int.from_bytes(frame[ID], "big")))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, reply: str) -> None:
        self.seen: list[bytes] = []
        self.connections = 0
        self.reply = reply
        super().__init__(("127.0.0.1", port), _Provider)


@pytest.fixture
def provider(free_port: Callable[[], int]) -> Iterator[Callable[[str], _Server]]:
    servers: list[_Server] = []

    def start(reply: str) -> _Server:
        server = _Server(free_port(), reply)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dubbo(free_port: Callable[[], int]) -> Iterator[Mesh]:
    mesh = Mesh(start_engine(), free_port())
    mesh.accept("listener", listener(mesh.port, "dubbo"))
    yield mesh
    mesh.engine.close()


def to_group(cluster: str, group: str) -> dict[str, Any]:
    route = to(cluster)
    route["match"]["headers"] = [{"name": "group", "exact_match": group}]
    return route


def test_calls_in_flight_together_share_a_connection_and_get_their_own_ids_back(
    dubbo: Mesh, provider: Callable[[str], Any]
) -> None:
    server = provider("dubbo-reply-value")
    dubbo.cluster("a", server.server_address[1])
    dubbo.routes(to("a"))
    call = golden("dubbo-sayHello")
    ids = [7, 3, 2**62, 1, 9_000_000_000, 12]
    with dubbo.connect() as client:
        client.sendall(b"".join(with_id(call, number) for number in ids))
        replies = [read(client) for _ in ids]
    assert Counter(int.from_bytes(reply[ID], "big") for reply in replies) == Counter(ids)
    want = golden("dubbo-reply-value")
    assert all(with_id(reply, 0) == with_id(want, 0) for reply in replies)
    assert server.connections <= 2
    assert all(with_id(seen, 0) == with_id(call, 0) for seen in server.seen)


@pytest.mark.parametrize(
    "name",
    ["dubbo-objects", "dubbo-map", "dubbo-rich-attachments", "dubbo-long-string", "dubbo-generic"],
)
def test_a_call_arrives_byte_for_byte(
    dubbo: Mesh, provider: Callable[[str], Any], name: str
) -> None:
    server = provider("dubbo-reply-large")
    dubbo.cluster("a", server.server_address[1])
    dubbo.routes(to("a"))
    call = golden(name)
    with dubbo.connect() as client:
        client.sendall(call)
        assert read(client)[HEADER_BYTES:] == golden("dubbo-reply-large")[HEADER_BYTES:]
    assert with_id(server.seen[0], 0) == with_id(call, 0)


def test_a_call_is_routed_by_its_attachments(dubbo: Mesh, provider: Callable[[str], Any]) -> None:
    blue, rest = provider("dubbo-reply-value"), provider("dubbo-reply-null")
    dubbo.cluster("blue", blue.server_address[1])
    dubbo.cluster("rest", rest.server_address[1])
    dubbo.routes(to_group("blue", "blue"), to("rest"))
    with dubbo.connect() as client:
        client.sendall(golden("dubbo-sayHello") + golden("dubbo-map"))
        replies = [read(client) for _ in range(2)]
    assert {len(reply) for reply in replies} == {23, 17}
    assert (len(blue.seen), len(rest.seen)) == (1, 1)


def test_a_heartbeat_is_answered_here_and_a_oneway_call_gets_no_reply(
    dubbo: Mesh, provider: Callable[[str], Any]
) -> None:
    server = provider("dubbo-reply-value")
    dubbo.cluster("a", server.server_address[1])
    dubbo.routes(to("a"))
    with dubbo.connect() as client:
        client.sendall(golden("dubbo-event-heartbeat-request"))
        beat = read(client)
        assert beat[2] & EVENT and beat[3] == 20 and int.from_bytes(beat[ID], "big") == 41
        client.sendall(golden("dubbo-oneway") + golden("dubbo-sayHello"))
        assert int.from_bytes(read(client)[ID], "big") == 1
    assert all(not seen[2] & EVENT for seen in server.seen)
    assert len(server.seen) == 2


def test_a_call_that_finds_no_route_is_answered_as_a_service_that_is_not_found(
    dubbo: Mesh,
) -> None:
    dubbo.routes(to("a", method="other"))
    with dubbo.connect() as client:
        client.sendall(golden("dubbo-sayHello"))
        reply = read(client)
    assert reply[3] == 60 and int.from_bytes(reply[ID], "big") == 1
    assert b"route" in reply[HEADER_BYTES:]


@pytest.fixture
def upstream(dubbo: Mesh, free_port: Callable[[], int]) -> Iterator[socket.socket]:
    """A provider that the test plays itself: what listens for the engine's connections."""
    port = free_port()
    dubbo.cluster("played", port)
    dubbo.routes(to("played"))
    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(5)
        yield listening


def test_several_replies_in_one_write_all_reach_their_callers_at_once(
    dubbo: Mesh, upstream: socket.socket
) -> None:
    """Aeraki's proxy gives out one reply for each read when it multiplexes."""
    call, reply = golden("dubbo-sayHello"), golden("dubbo-reply-value")
    ids = [5, 1, 2**63, 4]
    with dubbo.connect() as client:
        client.sendall(b"".join(with_id(call, number) for number in ids))
        provider = upstream.accept()[0]
        with provider:
            provider.settimeout(5)
            asked = [int.from_bytes(read(provider)[ID], "big") for _ in ids]
            assert len(set(asked)) == len(ids)
            provider.sendall(b"".join(with_id(reply, number) for number in reversed(asked)))
            client.settimeout(1)
            assert [int.from_bytes(read(client)[ID], "big") for _ in ids] == ids[::-1]


def test_a_heartbeat_of_the_provider_is_answered_here_and_the_caller_sees_none(
    dubbo: Mesh, upstream: socket.socket
) -> None:
    with dubbo.connect() as client:
        client.sendall(golden("dubbo-sayHello"))
        provider = upstream.accept()[0]
        with provider:
            provider.settimeout(5)
            asked = int.from_bytes(read(provider)[ID], "big")
            provider.sendall(golden("dubbo-event-heartbeat-request"))
            beat = read(provider)
            assert (beat[2] & (EVENT | 0x80), beat[3]) == (EVENT, 20)
            assert beat[ID] == golden("dubbo-event-heartbeat-request")[ID]
            provider.sendall(with_id(golden("dubbo-reply-value"), asked))
            assert with_id(read(client), 1) == with_id(golden("dubbo-reply-value"), 1)


@pytest.mark.parametrize(
    ("serialization", "name"), [(6, "fastjson"), (21, "protobuf-json"), (23, "fastjson2")]
)
def test_another_serialization_is_routed_by_its_name_and_answered_byte_for_byte(
    dubbo: Mesh, upstream: socket.socket, serialization: int, name: str
) -> None:
    """Its body is not read: no attribute but what the header gives."""
    named = to("played")
    named["match"]["headers"] = [{"name": "serialization", "exact_match": name}]
    dubbo.routes(to("nowhere", method="sayHello"), named, to("nowhere"))
    body = b'{"what": "nobody here reads"}\n' * 1000
    head = b"\xda\xbb" + bytes([0x80 | ONEWAY | serialization, 0])
    call = head + (9).to_bytes(8, "big") + len(body).to_bytes(4, "big") + body
    reply = b"\xda\xbb" + bytes([serialization, 20]) + call[4:]
    with dubbo.connect() as client:
        client.sendall(call)
        provider = upstream.accept()[0]
        with provider:
            provider.settimeout(5)
            seen = read(provider)
            assert with_id(seen, 9) == call
            provider.sendall(with_id(reply, int.from_bytes(seen[ID], "big")))
            assert read(client) == reply


def test_a_provider_that_dies_fails_what_it_held_with_a_status_and_the_reason(
    dubbo: Mesh, upstream: socket.socket
) -> None:
    call = golden("dubbo-sayHello")
    with dubbo.connect() as client:
        client.sendall(with_id(call, 8) + with_id(call, 3))
        provider = upstream.accept()[0]
        with provider:
            provider.settimeout(5)
            read(provider)
            read(provider)
        replies = [read(client) for _ in range(2)]
        assert {int.from_bytes(reply[ID], "big") for reply in replies} == {8, 3}
        assert all(reply[3] == 80 and b"closed the connection" in reply for reply in replies)
        client.sendall(with_id(call, 4))
        again = upstream.accept()[0]
        with again:
            again.settimeout(5)
            asked = int.from_bytes(read(again)[ID], "big")
            again.sendall(with_id(golden("dubbo-reply-value"), asked))
            assert int.from_bytes(read(client)[ID], "big") == 4

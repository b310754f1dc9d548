"""Attributes that a route sets and removes, in frames that Apache Dubbo and Apache Thrift wrote."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dubbo_wire
import pytest
from engine_mesh import Mesh, listener, route_configuration, start_engine, to
from meltemi.config import Source, build, errors, load
from meltemi.engine import decode_messages
from meltemi.model.addresses import Addresses
from meltemi.translate import routes as translated

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASE = "aeraki/test/e2e/metaprotocol/testdata/metarouter-header-mutation.yaml"
HOST = "org.apache.dubbo.samples.basic.api.demoservice"
DUBBO_ENTRY = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: demo}}
spec:
  hosts: [{HOST}]
  resolution: STATIC
  ports: [{{number: 20880, name: tcp-metaprotocol-dubbo, protocol: TCP}}]
  endpoints: [{{address: 10.0.0.1}}]
"""
DUBBO_HEADER_BYTES = 16


def golden(file: str, name: str) -> bytes:
    for line in (GOLDEN / file).read_text().splitlines():
        record = json.loads(line)
        if record["name"] == name:
            return bytes.fromhex(record["hex"])
    raise AssertionError(f"there is no golden frame {name}")


def dubbo(name: str) -> bytes:
    return golden("dubbo/frames.jsonl", name)


def with_id(frame: bytes, number: int) -> bytes:
    return frame[:4] + number.to_bytes(8, "big") + frame[12:]


def read(sock: socket.socket, head: int, length_at: int) -> bytes:
    """A frame whose length (4 bytes) counts what follows its `head` bytes; empty at the end."""
    frame, want = b"", head
    while len(frame) < want:
        more = sock.recv(want - len(frame))
        if not more:
            return b""
        frame += more
        if len(frame) == head:
            want += int.from_bytes(frame[length_at : length_at + 4], "big")
    return frame


class _Replying(socketserver.BaseRequestHandler):
    """Answers each frame with the one that it was given, under the id of the call."""

    def handle(self) -> None:
        server: Any = self.server
        while frame := read(self.request, *server.shape):
            server.seen.append(frame)
            dubbo = server.shape[0] == DUBBO_HEADER_BYTES
            id_of = int.from_bytes(frame[4:12], "big")
            self.request.sendall(with_id(server.reply, id_of) if dubbo else server.reply)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    seen: list[bytes]
    reply: bytes


@pytest.fixture
def serve_frames(free_port: Callable[[], int]) -> Iterator[Callable[[bytes], _Server]]:
    servers: list[_Server] = []

    def start(reply: bytes) -> _Server:
        server: Any = _Server(("127.0.0.1", free_port()), _Replying)
        server.seen, server.reply = [], reply
        server.shape = (DUBBO_HEADER_BYTES, 12) if reply[:2] == b"\xda\xbb" else (4, 0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started: _Server = server
        return started

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def opened(mesh: Mesh) -> None:
    """Waits until the listener is open: that happens off the caller's thread."""
    for _ in range(500):
        try:
            return mesh.connect().close()
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError(f"nobody listens on port {mesh.port}")


@pytest.fixture
def speaking(free_port: Callable[[], int]) -> Iterator[Callable[[str], Mesh]]:
    """A running engine whose listener speaks a protocol."""
    meshes: list[Mesh] = []

    def start(protocol: str) -> Mesh:
        mesh = Mesh(start_engine(), free_port())
        meshes.append(mesh)
        mesh.accept("listener", listener(mesh.port, protocol))
        opened(mesh)
        return mesh

    yield start
    for mesh in meshes:
        mesh.engine.close()


def changing(*, request: dict[str, str | None], reply: dict[str, str | None]) -> dict[str, Any]:
    """A route to `a` that sets attributes, and removes those whose value is None."""
    route = to("a", name="changing")
    for side, changes in (("request", request), ("response", reply)):
        route[f"{side}_headers_to_add"] = [
            {"header": {"key": key, "value": value}} for key, value in changes.items() if value
        ]
        route[f"{side}_headers_to_remove"] = [key for key, value in changes.items() if not value]
    return route


def skipped(mesh: Mesh) -> tuple[float, float]:
    stats = mesh.engine.stats()

    def of(side: str) -> float:
        counter = f"{side}_mutation_skipped"
        return sum(value for name, value in stats.items() if name.endswith(counter))

    return of("request"), of("response")


def test_aerakis_header_mutation_is_seen_by_the_provider(
    cases: Path, speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server]
) -> None:
    """TestHeaderMutation, from the YAML to the bytes."""
    rule = Source("rule.yaml", (cases / CASE).read_bytes())
    loaded = load([rule, Source("entry.yaml", DUBBO_ENTRY)])
    made, issues = build(loaded.objects, Addresses())
    assert errors([*loaded.issues, *issues]) == []
    configuration = translated.route_configuration(HOST, 20880, made.meta_routers[0])
    configuration.name = "routes"
    server = serve_frames(dubbo("dubbo-reply-value-attachments"))
    mesh = speaking("dubbo")
    mesh.cluster(f"outbound|20880|v1|{HOST}", server.server_address[1])
    mesh.accept("routes", configuration)
    call = dubbo("dubbo-sayHello")
    with mesh.connect() as client:
        client.sendall(call)
        assert read(client, DUBBO_HEADER_BYTES, 12) == with_id(server.reply, 1)
    (seen,) = server.seen
    assert seen[:4] == call[:4] and seen[16 : len(call) - 1] == call[16:-1]
    assert seen[len(call) - 1 :] == b"\x03foo\x03bar\x04foo1\x04bar1Z"
    (before,), (after,) = (decode_messages("dubbo", "request", each) for each in (call, seen))
    expected: Any = before["attributes"]
    assert after["attributes"] == {**expected, "foo": b"bar", "foo1": b"bar1"}


@pytest.mark.parametrize(
    "name",
    ["dubbo-objects", "dubbo-map", "dubbo-rich-attachments", "dubbo-long-string", "dubbo-generic"],
)
def test_a_changed_call_differs_in_its_attachments_only(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server], name: str
) -> None:
    server = serve_frames(dubbo("dubbo-reply-null"))
    mesh = speaking("dubbo")
    mesh.cluster("a", server.server_address[1])
    mesh.routes(changing(request={"x-lane": "gray", "PATH": None}, reply={}))
    call = dubbo(name)
    with mesh.connect() as client:
        client.sendall(call)
        assert read(client, DUBBO_HEADER_BYTES, 12)
    (seen,) = server.seen
    (before,), (after,) = (decode_messages("dubbo", "request", each) for each in (call, seen))
    attributes: Any = before["attributes"]
    # The attachments are the last value: what differs is behind the arguments.
    path = b"\x04path" + text(attributes.pop("path"))
    assert after["attributes"] == {**attributes, "x-lane": b"gray"}
    assert seen[16:-13] + b"Z" == call[16:].replace(path, b"", 1)
    assert seen[-13:] == b"\x06x-lane\x04grayZ"
    # A full reader of another make finds the same.
    was, is_now = dubbo_wire.decode(call), dubbo_wire.decode(seen)
    assert isinstance(was, dubbo_wire.Request) and isinstance(is_now, dubbo_wire.Request)
    kept = {name: value for name, value in was.attachments.items() if name != "path"}
    assert repr(is_now.attachments) == repr({**kept, "x-lane": "gray"})
    assert repr((is_now.types, is_now.arguments)) == repr((was.types, was.arguments))


def text(value: bytes) -> bytes:
    """A string of less than 1024 characters, in hessian2."""
    size = len(value)
    return (bytes([size]) if size < 32 else bytes([0x30 + (size >> 8), size & 0xFF])) + value


@pytest.mark.parametrize("value", ["value", "null", "number", "exception", "object", "large"])
def test_a_reply_gets_attachments_whether_or_not_it_has_some(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server], value: str
) -> None:
    pair = b"\x06x-lane\x04gray"
    for name in (f"dubbo-reply-{value}", f"dubbo-reply-{value}-attachments"):
        reply = dubbo(name)
        server = serve_frames(reply)
        mesh = speaking("dubbo")
        mesh.cluster("a", server.server_address[1])
        mesh.routes(changing(request={}, reply={"x-lane": "gray", "absent": None}))
        with mesh.connect() as client:
            client.sendall(with_id(dubbo("dubbo-sayHello"), 77))
            got = read(client, DUBBO_HEADER_BYTES, 12)
        assert (got[:4], got[4:12]) == (reply[:4], (77).to_bytes(8, "big"))
        if name.endswith("-attachments"):
            assert got[16:] == reply[16:-1] + pair + b"Z"
        else:
            assert got[16:] == bytes([reply[16] + 3]) + reply[17:] + b"H" + pair + b"Z"
        assert skipped(mesh) == (0, 0)
        was, is_now = dubbo_wire.decode(reply), dubbo_wire.decode(got)
        assert isinstance(was, dubbo_wire.Reply) and isinstance(is_now, dubbo_wire.Reply)
        assert repr((is_now.exception, is_now.value)) == repr((was.exception, was.value))
        assert is_now.attachments == {**(was.attachments or {}), "x-lane": "gray"}


def test_a_reply_without_a_place_comes_as_it_was_and_is_counted(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server]
) -> None:
    call = dubbo("dubbo-sayHello")
    old = call.replace(b"\x052.0.2", b"\x052.5.7", 1)
    for request, name in ((call, "dubbo-reply-status-80"), (old, "dubbo-reply-value")):
        server = serve_frames(dubbo(name))
        mesh = speaking("dubbo")
        mesh.cluster("a", server.server_address[1])
        mesh.routes(changing(request={}, reply={"x-lane": "gray"}))
        with mesh.connect() as client:
            client.sendall(request)
            assert read(client, DUBBO_HEADER_BYTES, 12) == with_id(dubbo(name), 1)
        assert skipped(mesh) == (0, 1)


def thrift(name: str) -> bytes:
    return golden("messages.jsonl", name)


def asking(name: str, reply: bytes) -> bytes:
    """The strict call of that name, under the id that `reply` answers."""
    (answer,) = decode_messages("thrift", "response", reply)
    head = b"sayHello"
    at = (call := thrift(name)).index(head) + len(head)
    identity: Any = answer["id"]
    return call[:at] + int(identity).to_bytes(4, "big") + call[at + 4 :]


@pytest.mark.parametrize("transport", ["apache-theader", "ttheader"])
def test_headers_of_thrift_are_set_and_removed_on_call_and_reply(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server], transport: str
) -> None:
    reply = thrift(f"{transport}-strict-reply-sayHello")
    call = asking(f"{transport}-strict-call-sayHello", reply)
    server = serve_frames(reply)
    mesh = speaking("thrift")
    mesh.cluster("a", server.server_address[1])
    known: Any = decode_messages("thrift", "request", call)[0]["attributes"]
    gone = next(name for name in known if name not in ("method", "service"))
    mesh.routes(changing(request={"x-new": "1", gone: None}, reply={"x-by": "us"}))
    with mesh.connect() as client:
        client.sendall(call)
        got = read(client, 4, 0)
    (seen,) = server.seen
    (asked,) = decode_messages("thrift", "request", seen)
    del known[gone]
    assert asked["attributes"] == {**known, "x-new": b"1"}
    (answered,) = decode_messages("thrift", "response", got)
    told: Any = answered["attributes"]
    assert told["x-by"] == b"us"
    assert skipped(mesh) == (0, 0)


def test_a_framed_call_has_no_place_and_goes_on_as_it_came(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server]
) -> None:
    reply = thrift("apache-framed-strict-reply-sayHello")
    call = asking("apache-framed-strict-call-sayHello", reply)
    server = serve_frames(reply)
    mesh = speaking("thrift")
    mesh.cluster("a", server.server_address[1])
    mesh.routes(changing(request={"x-new": "1"}, reply={"x-by": "us"}))
    with mesh.connect() as client:
        client.sendall(call)
        assert read(client, 4, 0) == reply
    assert server.seen == [call]
    assert skipped(mesh) == (1, 1)


def test_a_reply_in_another_protocol_than_the_call_is_answered_with_an_error(
    speaking: Callable[[str], Mesh], serve_frames: Callable[[bytes], _Server]
) -> None:
    reply = thrift("apache-framed-compact-reply-sayHello")
    call = asking("apache-framed-strict-call-sayHello", reply)
    server = serve_frames(reply)
    mesh = speaking("thrift")
    mesh.cluster("a", server.server_address[1])
    mesh.routes(to("a"))
    with mesh.connect() as client:
        client.sendall(call)
        got = read(client, 4, 0)
    (answer,) = decode_messages("thrift", "response", got)
    assert (answer["kind"], answer["ok"]) == ("response", False)
    assert b"in another protocol" in got
    # TApplicationException.PROTOCOL_ERROR
    assert got.endswith(b"\x08\x00\x02\x00\x00\x00\x07\x00")


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ("dubbo-reply-value", 'response_code="0"'),
        ("dubbo-reply-exception", 'response_code="1"'),
        ("dubbo-reply-exception-attachments", 'response_code="1"'),
        ("dubbo-reply-status-80", 'response_code="1"'),
        ("broken", 'response_code="1",grpc_response_status="",response_flags="UPE"'),
    ],
)
def test_exceptions_and_statuses_of_dubbo_count_as_errors(
    speaking: Callable[[str], Mesh],
    serve_frames: Callable[[bytes], _Server],
    reply: str,
    labels: str,
) -> None:
    frame = dubbo("dubbo-reply-value") if reply == "broken" else dubbo(reply)
    # A result of a type that there is not.
    server = serve_frames(frame[:16] + b"\x99" + frame[17:] if reply == "broken" else frame)
    mesh = speaking("dubbo")
    mesh.cluster("a", server.server_address[1])
    mesh.routes(to("a"))
    with mesh.connect() as client:
        client.sendall(dubbo("dubbo-sayHello"))
        assert read(client, DUBBO_HEADER_BYTES, 12)
    lines = mesh.engine.prometheus().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("istio_requests_total{"))
    assert labels in line and line.endswith(" 1")


def test_the_access_log_shows_attachments_of_replies(
    tmp_path: Path,
    free_port: Callable[[], int],
    serve_frames: Callable[[bytes], _Server],
) -> None:
    log = tmp_path / "access.log"
    form = "%REQ(METHOD)% %RESP(X-Lane)% %RESPONSE_CODE%"
    mesh = Mesh(start_engine(access_log=str(log), access_log_format=form), free_port())
    try:
        mesh.accept("listener", listener(mesh.port, "dubbo"))
        opened(mesh)
        reply = dubbo("dubbo-reply-value-attachments")
        body = reply[16:-1] + b"\x06x-lane\x04grayZ"
        server = serve_frames(reply[:12] + len(body).to_bytes(4, "big") + body)
        mesh.cluster("a", server.server_address[1])
        mesh.accept("routes", route_configuration(to("a")))
        with mesh.connect() as client:
            client.sendall(dubbo("dubbo-sayHello"))
            assert read(client, DUBBO_HEADER_BYTES, 12)
    finally:
        mesh.engine.close()
    assert log.read_text().splitlines() == ["sayHello gray 0"]

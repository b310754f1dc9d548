"""Servers of thriftpy2 that were wrapped: they read and answer in what each caller speaks."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from meltemi.proxyless import metainfo
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.context import outgoing
from meltemi.proxyless.thrift import calls, message, ttheader
from meltemi.proxyless.thrift.request import Manner, Request, parse
from meltemi.proxyless.thrift.wire import Wire
from opentelemetry import baggage
from opentelemetry.trace import get_current_span
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.Thrift import TMessageType
from thrift.transport.THeaderTransport import THeaderClientType, THeaderTransformID
from thrift.transport.TSocket import TSocket as ApacheSocket
from thrift_peers import AsyncHandler, Handler, mesh_of, running, server_of
from thriftpy2.contrib.aio.rpc import make_server as make_aio_server
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.server import TSimpleServer
from thriftpy2.thrift import TApplicationException, TProcessor
from thriftpy2.transport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TServerSocket,
)

GOLDEN_FILES = Path(__file__).parent.parent / "golden"
GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "golden" / "messages.jsonl")
    .read_text()
    .splitlines()
]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def handler(module: Any) -> Handler:
    return Handler(module)


@pytest.fixture(params=["threads", "asyncio"])
def port(
    request: pytest.FixtureRequest, module: Any, handler: Handler, free_port: Callable[[], int]
) -> Iterator[int]:
    """Where a wrapped server listens, blocking and asyncio."""
    at = free_port()
    if request.param == "threads":
        with running(mesh_thrift.mesh_server(server_of(module, handler, at))):
            yield at
        return
    loop = asyncio.new_event_loop()
    server = mesh_thrift.mesh_server(
        make_aio_server(
            module.Reviews, AsyncHandler(handler), "127.0.0.1", at, client_timeout=None, loop=loop
        )
    )
    server.init_server()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield at
    asyncio.run_coroutine_threadsafe(_stop(server, loop), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


async def _stop(server: Any, loop: asyncio.AbstractEventLoop) -> None:
    await server.close()
    tasks = [each for each in asyncio.all_tasks(loop) if each is not asyncio.current_task()]
    if tasks:  # they end with their callers' connections
        await asyncio.wait(tasks, timeout=2)
    await asyncio.sleep(0.01)


def written(wire: Wire, body: bytes, seqid: int = 0) -> Request:
    return Request(Manner(wire, {}), body, seqid)


def asked(port: int, data: bytes, pieces: int = 1) -> bytes:
    """The frame that a server answers with to bytes, which come to it in pieces."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        step = max(1, len(data) // pieces)
        for at in range(0, len(data), step):
            connection.sendall(data[at : at + step])
            if pieces > 1:
                time.sleep(0.01)
        return _frame(connection)


def exchange(port: int, data: bytes) -> bytes:
    """What a server answers to bytes: all until it is quiet for a moment, or the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(data)
        answer = b""
        connection.settimeout(0.4)
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except TimeoutError:
            pass
        return answer


@pytest.mark.parametrize(
    ("transports", "protocols"),
    [
        (TFramedTransportFactory(), TBinaryProtocolFactory()),
        (TBufferedTransportFactory(), TBinaryProtocolFactory()),
        (TFramedTransportFactory(), TCompactProtocolFactory()),
        (TBufferedTransportFactory(), TCompactProtocolFactory()),
    ],
    ids=["framed", "unframed", "framed compact", "unframed compact"],
)
def test_clients_of_thriftpy2_are_answered_in_what_they_speak(
    module: Any, port: int, transports: Any, protocols: Any
) -> None:
    client = make_client(
        module.Reviews, "127.0.0.1", port, trans_factory=transports, proto_factory=protocols
    )
    for _ in range(3):
        assert client.ping() == 7
        assert client.echo("größe") == "größe"
        with pytest.raises(module.NoSuchProduct):
            client.review("none", 1)
    assert client.echo("x" * 300_000) == "x" * 300_000
    client.note("later")
    assert client.ping() == 7
    client.close()


@pytest.mark.parametrize("protocol_id", [0, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_apaches_theader_is_answered(
    module: Any, handler: Handler, port: int, protocol_id: int, compressed: bool
) -> None:
    seen: list[Any] = []
    handler.seen = lambda _method: seen.append(baggage.get_all())
    connection = ApacheSocket("127.0.0.1", port)
    protocol = THeaderProtocol(connection, [THeaderClientType.HEADERS], protocol_id)
    protocol.trans.open()
    protocol.trans.set_header(b"baggage", b"env=dev,user=ada")
    if compressed:
        protocol.trans.add_transform(THeaderTransformID.ZLIB)
    for seqid in (4, 5):
        protocol.writeMessageBegin("echo", TMessageType.CALL, seqid)
        protocol.writeStructBegin("echo_args")
        protocol.writeFieldBegin("text", 11, 1)
        protocol.writeString("hi")
        protocol.writeFieldEnd()
        protocol.writeFieldStop()
        protocol.writeStructEnd()
        protocol.writeMessageEnd()
        protocol.trans.flush()
        assert protocol.readMessageBegin() == ("echo", TMessageType.REPLY, seqid)
        protocol.readStructBegin()
        assert protocol.readFieldBegin()[1:] == (11, 0)
        assert protocol.readString() == "hi"
        protocol.readFieldEnd()
        assert protocol.readFieldBegin()[1] == 0
        protocol.readStructEnd()
        protocol.readMessageEnd()
    assert seen == [{"env": "dev", "user": "ada"}, {}], "Apache's client sends a header once"
    protocol.trans.close()


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("framed", [False, True])
def test_a_call_of_kitex_is_served_in_its_context_and_answered_in_ttheader(
    handler: Handler, port: int, framed: bool, pieces: int
) -> None:
    seen: dict[str, Any] = {}

    def look(method: str) -> None:
        seen[method] = {
            "baggage": dict(baggage.get_all()),
            "trace": format(get_current_span().get_span_context().trace_id, "032x"),
            "hop": metainfo.value("hop"),
            "user": metainfo.value("user"),
            "goes on": dict(outgoing().thrift),
            "serving": calls.SERVING.get(),
        }
        mesh_thrift.answer_with("served-by", "v2")

    handler.seen = look
    body = message.head(b"ping", message.CALL) + struct.pack(">I", 9) + b"\0"
    request = written(Wire.TTHEADER_FRAMED if framed else Wire.TTHEADER, body, 9)
    texts = {
        "RPC_TRANSIT_baggage": "env=dev",
        "RPC_TRANSIT_traceparent": TRACEPARENT,
        "RPC_TRANSIT_hop": "1",
        "RPC_PERSIST_user": "ada",
        "isn": "Reviews",
    }
    answer = asked(port, request.framed(body, texts), pieces)
    assert seen["ping"]["baggage"] == {"env": "dev"}
    assert seen["ping"]["trace"] == TRACEPARENT.split("-")[1], "although it is not sampled"
    assert (seen["ping"]["hop"], seen["ping"]["user"]) == ("1", "ada")
    assert seen["ping"]["serving"] == "ping"
    goes_on = seen["ping"]["goes on"]
    assert goes_on["RPC_TRANSIT_baggage"] == "env=dev"
    assert goes_on["RPC_PERSIST_user"] == "ada"
    assert "RPC_TRANSIT_hop" not in goes_on, "a transient value goes one hop"
    reply = parse(answer)
    assert reply.wire is request.wire
    assert reply.header_seqid == 9
    assert message.read_head(reply.payload, 0)[:3] == (b"ping", message.REPLY, 9)
    assert reply.texts == {"served-by": "v2"}
    numbers = ttheader.decode(answer, message.place(answer).header_end).numbers
    assert numbers == {ttheader.MSG_TYPE: "2"}


def test_every_golden_call_is_answered_in_its_own_frame(port: int) -> None:
    """All of them call a method that the service lacks: the answer is an exception."""
    for sample in GOLDEN:
        wire, encoding = sample["format"].split()
        if sample["direction"] != "request" or encoding == "lax" or "transform" in sample["name"]:
            continue
        if "sayHello" not in sample["name"]:
            continue  # thriftpy2 cannot skip every compact value; our service has a oneway `note`
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(bytes.fromhex(sample["hex"]))
            answer = connection.recv(65_536)
        if wire == "unframed":
            assert answer[0] == (0x82 if encoding == "compact" else 0x80), sample["name"]
            continue
        reply = parse(answer)
        assert reply.wire.value == ("theader" if wire == "theaderframed" else wire), sample["name"]
        assert reply.is_compact == (encoding == "compact"), sample["name"]
        assert reply.header_seqid == sample["header_id"], sample["name"]


def test_wires_may_change_from_connection_to_connection_and_headers_from_call_to_call(
    port: int,
) -> None:
    body = message.head(b"ping", message.CALL) + struct.pack(">I", 1) + b"\0"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for wire in (Wire.TTHEADER, Wire.FRAMED, Wire.THEADER, Wire.TTHEADER_FRAMED):
            connection.sendall(written(wire, body, 3).framed(body, {}))
            reply = parse(_frame(connection))
            assert reply.wire is wire
    # Two calls in one packet are two calls.
    one = written(Wire.TTHEADER, body, 3).framed(body, {})
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(one + one)
        answers = b""
        while (size := message.frame_bytes(answers)) is None or len(answers) < 2 * size:
            answers += connection.recv(65_536)
        assert len(answers) == 2 * size


def test_a_call_is_served_in_its_own_context_however_the_last_one_was_written(
    handler: Handler, port: int
) -> None:
    lanes: list[object] = []
    handler.seen = lambda _method: lanes.append(dict(baggage.get_all()))
    ping = message.head(b"ping", message.CALL) + struct.pack(">I", 7) + b"\0"
    note = message.head(b"nothing", message.CALL) + struct.pack(">I", 7) + b"\0"
    dev, prod = {"RPC_TRANSIT_baggage": "env=dev"}, {"RPC_TRANSIT_baggage": "env=pro"}
    calls_made = [(dev, ping), (dev, ping), (dev, note), (prod, note), ({}, note), (dev, ping)]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for number, (texts, body) in enumerate(calls_made):
            frame = written(Wire.TTHEADER, body, number).framed(body, texts)
            connection.sendall(frame)
            reply = parse(_frame(connection))
            assert reply.header_seqid == number
            assert message.read_head(reply.payload, 0).name == (
                b"ping" if body is ping else b"nothing"
            )
        connection.sendall(written(Wire.FRAMED, ping).framed(ping, {}))
        assert parse(_frame(connection)).wire is Wire.FRAMED
    none: dict[str, str] = {}
    assert lanes == [{"env": "dev"}] * 3 + [{"env": "pro"}, none, {"env": "dev"}, none]


def _frame(connection: socket.socket) -> bytes:
    data = b""
    while (size := message.frame_bytes(data)) is None or len(data) < size:
        data += connection.recv(65_536)
    return data


def test_a_second_message_hidden_in_a_frame_is_not_a_call(handler: Handler, port: int) -> None:
    called: list[str] = []
    handler.seen = called.append
    body = message.head(b"ping", message.CALL) + struct.pack(">I", 1) + b"\0"
    hidden = message.head(b"nothing", message.CALL) + struct.pack(">I", 2) + b"\0"
    asked(port, written(Wire.FRAMED, body).framed(body + hidden, {}))
    asked(port, written(Wire.TTHEADER, body).framed(body + hidden, {}))
    assert called == ["ping", "ping"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\0\0\0\x0f\x10\0\0\0\0\0\0\1\0\1\0\0\x22\0\x80",
        b"\0\0\0\x05\0\0\0\x01x",
    ],
)
def test_what_is_no_call_ends_the_connection_with_one_line(
    port: int, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert exchange(port, data) == b""
    lines = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "a caller was disconnected: it sent" in lines[0].message
    assert lines[0].exc_info is None


def test_a_business_status_is_written_as_kitex_does(handler: Handler, port: int) -> None:
    def refuse(_method: str) -> None:
        raise mesh_thrift.BizStatusError(404, "keins da", {"k": "v"})

    handler.seen = refuse
    body = message.head(b"ping", message.CALL) + struct.pack(">I", 1) + b"\0"
    reply = parse(asked(port, written(Wire.TTHEADER, body, 1).framed(body, {})))
    assert reply.texts == {
        "biz-status": "404",
        "biz-message": "keins da",
        "biz-extra": '{"k": "v"}',
    }
    assert message.read_head(reply.payload, 0)[:3] == (b"ping", message.REPLY, 1)
    reply = parse(asked(port, written(Wire.FRAMED, body).framed(body, {})))
    assert message.read_head(reply.payload, 0).kind == message.EXCEPTION
    assert b"keins da (business status 404)" in reply.payload
    assert exchange(port, body)[:16] == message.head(b"ping", message.EXCEPTION) + b"\0\0\0\1"


@pytest.mark.parametrize("wire", ["ttheader", "theader", "framed", "unframed"])
def test_our_client_and_a_wrapped_server_agree(
    module: Any, handler: Handler, port: int, wire: str
) -> None:
    seen: list[Any] = []

    def look(method: str) -> None:
        seen.append(baggage.get_baggage("env"))
        mesh_thrift.answer_with("by", method)

    handler.seen = look
    mesh = mesh_of(f"127.0.0.1:{port}")
    with mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire=wire) as client:
        with mesh_thrift.received_metadata() as received:
            assert client.review("p", 2).rating == 5
        assert received == ({"by": "review"} if wire in ("ttheader", "theader") else {})
        assert client.ping() == 7


def test_a_simple_server_is_wrapped_too(
    module: Any, handler: Handler, free_port: Callable[[], int]
) -> None:
    at = free_port()
    processor = TProcessor(module.Reviews, handler)
    server = TSimpleServer(processor, TServerSocket("127.0.0.1", at, client_timeout=None))
    mesh = mesh_of(f"127.0.0.1:{at}")
    with (
        running(mesh_thrift.mesh_server(server)),
        mesh_thrift.client(mesh, "r:1", module.Reviews) as client,
    ):
        assert client.ping() == 7


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(TypeError, match="is no server of thriftpy2"):
        mesh_thrift.mesh_server(object())


def test_answer_with_outside_of_a_handler_says_so() -> None:
    with pytest.raises(RuntimeError, match="for handlers of a server that mesh_server"):
        mesh_thrift.answer_with("a", "b")


def test_a_caller_that_is_cut_off_is_no_error_of_the_server(
    port: int, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that is killed: before a call, within one, before its answer."""
    called = threading.Event()

    def slow(_method: str) -> None:
        called.set()
        time.sleep(0.1)

    handler.seen = slow
    ping = b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00"
    whole = len(ping).to_bytes(4, "big") + ping
    for sent in (b"", whole[:10], whole):
        called.clear()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(sent)
            if sent == whole:
                assert called.wait(5)
            else:
                time.sleep(0.05)
            # Closed so, the connection is reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.3)
    assert [each.message for each in caplog.records] == []


def test_thriftpy2s_limit_on_the_life_of_asyncio_connections_is_warned_about(
    module: Any, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    mesh_thrift.mesh_server(make_aio_server(module.Reviews, handler, "127.0.0.1", 1))
    assert "closes each connection 3 s after it was opened" in caplog.text


def test_an_idle_caller_is_left_without_a_word(
    module: Any, handler: Handler, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    at = free_port()
    with running(mesh_thrift.mesh_server(server_of(module, handler, at, timeout_ms=50))):
        with socket.create_connection(("127.0.0.1", at), timeout=2) as connection:
            assert connection.recv(1) == b""
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_an_exception_of_the_application_is_sent(module: Any, handler: Handler, port: int) -> None:
    def fail(_method: str) -> None:
        raise TApplicationException(TApplicationException.INTERNAL_ERROR, "no")

    handler.seen = fail
    mesh = mesh_of(f"127.0.0.1:{port}")
    client = mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire="ttheader")
    with pytest.raises(TApplicationException, match="no"):
        client.ping()
    client.close()

"""Blocking calls: what they return, raise, carry, and tell the mesh, over every wire."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import thriftpy2
from meltemi.proxyless import metainfo
from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.thrift import frames, message, probe, ttheader
from meltemi.proxyless.thrift.request import parse
from meltemi.proxyless.thrift.wire import Wire
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from thrift_calls import client_of, reply_to
from thrift_peers import Handler, Scripted, mesh_of, running, server_of
from thriftpy2.thrift import TApplicationException

WIRES = ["ttheader", "theader", "framed", "unframed"]


@pytest.mark.parametrize("wire", WIRES)
def test_methods_return_and_raise_what_thriftpy2_would(
    module: Any, handler: Handler, wrapped: str, wire: str
) -> None:
    with client_of(module, wrapped, wire=wire) as client:
        review = client.review("p1")
        assert review == module.Review(kind=2, rating=5, numbers={"a": [1, 2]}, raw=b"\xff\x00")
        assert handler.asked[-1] == ("review", ("p1", 1)), "the default of the IDL"
        client.review(id="p2", times=3)
        assert handler.asked[-1] == ("review", ("p2", 3))
        with pytest.raises(module.NoSuchProduct) as missing:
            client.review("none")
        assert missing.value.id == "none"
        assert client.ping() == 7
        assert client.nothing("x") is None
        assert client.echo("größe\0") == "größe\0"
        assert client.echo("x" * 3_000_000) == "x" * 3_000_000
        assert client.note("later") is None
        assert handler.noted.wait(5)
        client.tclose()
        assert ("close", None) in handler.asked
        with pytest.raises(TApplicationException) as nothing:
            client.maybe()
        assert nothing.value.type == TApplicationException.MISSING_RESULT
        with pytest.raises(
            TApplicationException, match=r"id is required argument for Reviews\.rev"
        ):
            client.review()
        with pytest.raises(TypeError):
            client.echo("a", "b")
        with pytest.raises(AttributeError, match=r"reviews.Reviews has no method 'ech'"):
            client.ech("a")
    assert ("failed", "reset", None) not in client.mesh.told


@pytest.mark.parametrize("framed", [True, False])
def test_a_server_of_thriftpy2_that_nobody_wrapped_is_called_plainly(
    module: Any,
    handler: Handler,
    free_port: Callable[[], int],
    framed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    logging.getLogger("thriftpy2").disabled = False
    with running(server_of(module, handler, port, framed=framed)):
        client = client_of(module, f"127.0.0.1:{port}", wire="auto")
        assert client.echo("a") == "a"
        assert client.echo("b") == "b"
    assert handler.asked == []
    warnings = [each.message for each in caplog.records if each.name.startswith("meltemi")]
    assert len(warnings) == 1
    assert f"the endpoint 127.0.0.1:{port} speaks neither TTHeader nor THeader" in warnings[0]
    assert f"only {'framed' if framed else 'unframed'} messages" in warnings[0]
    assert "baggage" in warnings[0]


def test_a_call_is_what_kitex_writes(module: Any) -> None:
    peer = Scripted(lambda data: reply_to(data, b"\x0b\x00\x00\x00\x00\x00\x01x\x00"))
    client = client_of(module, peer.address, timeout_s=2.5, caller="productpage")
    context = metainfo.with_transient("hop", "1", baggage.set_baggage("env", "dev"))
    token = attach(metainfo.with_persistent("user", "ada", context))
    try:
        assert client.echo("t") == "x"
    finally:
        detach(token)
    request = parse(peer.read[0])
    assert request.texts == {
        "RPC_TRANSIT_baggage": "env=dev",
        "RPC_PERSIST_baggage": "env=dev",
        "RPC_TRANSIT_hop": "1",
        "RPC_PERSIST_user": "ada",
        "isn": "Reviews",
    }
    numbers = ttheader.decode(peer.read[0], message.place(peer.read[0]).header_end).numbers
    assert numbers == {
        ttheader.FROM_SERVICE: "productpage",
        ttheader.TO_SERVICE: "reviews",
        ttheader.TO_METHOD: "echo",
        ttheader.MSG_TYPE: "1",
        ttheader.TRANSPORT_TYPE: "unframed",
        ttheader.RPC_TIMEOUT_MS: "2500",
    }
    assert request.payload == bytes.fromhex("80010001000000046563686f000000010b0001000000017400")
    path, attributes = client.mesh.asked[0]
    assert path == "/reviews.Reviews/echo"
    assert attributes == {
        "method": "echo",
        "baggage": "env=dev",
        "user": "ada",
        "hop": "1",
        "rpc_transit_baggage": "env=dev",
        "rpc_persist_baggage": "env=dev",
        "rpc_transit_hop": "1",
        "rpc_persist_user": "ada",
        "isn": "Reviews",
        "fromservice": "productpage",
        "toservice": "reviews",
        "tomethod": "echo",
        "msgtype": "1",
        "transporttype": "unframed",
        "rpctimeout": "2500",
    }
    assert client.mesh.served == {"reviews:9080": "/reviews.Reviews/"}
    peer.close()


def test_a_call_to_kitex_over_theader_says_w3cs_names_too(module: Any) -> None:
    peer = Scripted(lambda data: reply_to(data))
    client = client_of(module, peer.address, wire="theader")
    token = attach(baggage.set_baggage("env", "dev"))
    try:
        client.nothing("t")
    finally:
        detach(token)
    texts = parse(peer.read[0]).texts
    assert texts["baggage"] == texts["RPC_TRANSIT_baggage"] == "env=dev"
    peer.close()


@pytest.mark.parametrize(
    ("namespaces", "path"),
    [
        ("namespace go a.b.details\nnamespace py x", "/details.S/m"),
        ("# namespace go no\nnamespace py deep.books", "/books.S/m"),
        ("namespace java nothing", "/library.S/m"),
    ],
)
def test_the_package_of_a_path_is_the_namespaces_last_segment_or_the_file(
    tmp_path: Path, namespaces: str, path: str
) -> None:
    file = tmp_path / "library.thrift"
    file.write_text(f"{namespaces}\nservice S {{ void m() }}")
    for name in (None, f"m{abs(hash(str(tmp_path)))}_thrift"):
        service = thriftpy2.load(str(file), module_name=name).S
        peer = Scripted(reply_to)
        for package, wanted in ((None, path), ("own", "/own.S/m"), ("", "/S/m")):
            mesh = mesh_of(peer.address)
            mesh_thrift.client(mesh, "a:1", service, wire="framed", package=package).m()
            assert mesh.asked[0][0] == wanted
        peer.close()


def test_metadata_changes_of_a_route_are_written(module: Any) -> None:
    peer = Scripted(reply_to)
    changes = [
        ("set", "baggage", "env=base"),
        ("remove", "RPC_PERSIST_user", ""),
        ("add", "x", "1"),
        ("add", "x", "2"),
    ]
    mesh = mesh_of(peer.address, request_changes=changes)
    client = mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire="ttheader")
    token = attach(metainfo.with_persistent("user", "ada", baggage.set_baggage("env", "dev")))
    try:
        client.nothing("t")
    finally:
        detach(token)
    assert parse(peer.read[0]).texts == {
        "RPC_TRANSIT_baggage": "env=base",
        "RPC_PERSIST_baggage": "env=base",
        "RPC_TRANSIT_x": "1,2",
        "isn": "Reviews",
    }
    peer.close()


def test_metadata_of_a_reply_are_changed_as_the_route_says(module: Any) -> None:
    def answer(data: bytes) -> bytes:
        request = parse(data)
        head = message.read_head(request.payload, 0)
        whole = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
        return request.framed(whole, {"Served-By": "v1", "secret": "x", "n": "1"})

    peer = Scripted(answer)
    changes = [
        ("set", "served-by", "a version"),
        ("remove", "secret", ""),
        ("add", "n", "2"),
        ("add", "new", "3"),
    ]
    mesh = mesh_of(peer.address, response_changes=changes)
    with mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire="theader") as client:
        with mesh_thrift.received_metadata() as received:
            client.nothing("t")
        client.nothing("t")
    assert received == {"Served-By": "a version", "n": "1,2", "new": "3"}
    peer.close()


def test_a_method_of_a_multiplexed_service_is_named_with_it(module: Any) -> None:
    peer = Scripted(lambda data: reply_to(data))
    client = client_of(module, peer.address, multiplexed="shop")
    client.nothing("t")
    assert b"shop:nothing" in peer.read[0]
    assert client.mesh.asked[0][1]["service"] == "shop"
    assert client.mesh.asked[0][0] == "/reviews.Reviews/nothing"
    peer.close()


# --- connections ---


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n", "a frame of 1,213,486,160 bytes"),
        (lambda data: reply_to(data).replace(b"nothing", b"another"), "a reply of another came"),
        (lambda data: reply_to(data)[:-5] + b"\0\0\0\x63\0", "reply to call 99 came for call 1"),
        (lambda data: reply_to(data, kind=message.CALL), "message of type 1"),
        (lambda data: reply_to(data) + b"more", "4 bytes behind it"),
        (lambda data: reply_to(data, b"\x0b\0\1\0\0\0\x09ab"), "ends"),
    ],
)
@pytest.mark.parametrize("wire", ["ttheader", "framed"])
def test_what_is_no_reply_is_said_and_ends_the_connection(
    module: Any, answer: Any, says: str, wire: str
) -> None:
    peer = Scripted(answer)
    client = client_of(module, peer.address, wire=wire)
    with pytest.raises(mesh_thrift.BadReplyError) as bad:
        client.nothing("t")
    if says != "ends":
        assert says in str(bad.value)
    assert f"{peer.address} answered /reviews.Reviews/nothing with no reply" in str(bad.value)
    peer._answer = reply_to
    client.nothing("u")
    assert len(peer.connections) == 2
    peer.close()


def test_an_exception_of_the_application_counts_as_the_endpoints_fault_where_it_is(
    module: Any,
) -> None:
    def exception(kind: int) -> Callable[[bytes], bytes]:
        body = b"\x0b\0\1\0\0\0\2no\x08\0\2" + kind.to_bytes(4, "big") + b"\0"
        return lambda data: reply_to(data, body, message.EXCEPTION)

    for kind, told in (
        (TApplicationException.INTERNAL_ERROR, ("failed", "status", 500)),
        (TApplicationException.UNKNOWN_METHOD, ("succeeded", None)),
    ):
        peer = Scripted(exception(kind))
        client = client_of(module, peer.address)
        for _ in range(2):
            with pytest.raises(TApplicationException, match="no") as raised:
                client.nothing("t")
            assert raised.value.type == kind
        assert client.mesh.told == [told, told]
        assert len(peer.connections) == 1
        peer.close()


def test_values_of_the_wrong_type_fail_before_anything_is_routed(module: Any) -> None:
    client = client_of(module, "127.0.0.1:1")
    with pytest.raises(Exception, match="needs type 'STRING'"):
        client.echo(5)
    assert client.mesh.asked == []


def test_metadata_without_room_is_said_and_nothing_sent(module: Any) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    token = attach(metainfo.with_persistent("big", "x" * 70_000))
    try:
        with pytest.raises(mesh_thrift.MetadataError, match="70,000 bytes"):
            client.nothing("t")
    finally:
        detach(token)
    assert peer.read == []
    assert client.mesh.told == [("abandoned",)]
    client.nothing("t")
    peer.close()


def test_a_business_status_of_kitex_is_an_exception_and_a_reply(module: Any) -> None:
    def business(data: bytes) -> bytes:
        request = parse(data)
        head = message.read_head(request.payload, 0)
        whole = message.head(head.name, message.REPLY) + head.seqid.to_bytes(4, "big") + b"\0"
        extra = {"biz-status": "404", "biz-message": "keins da", "biz-extra": '{"k":"v"}'}
        return request.framed(whole, extra)

    peer = Scripted(business)
    client = client_of(module, peer.address)
    for _ in range(2):
        with pytest.raises(mesh_thrift.BizStatusError, match="keins da") as raised:
            client.echo("t")
        assert (raised.value.status, raised.value.extra) == (404, {"k": "v"})
    assert client.mesh.told == [("succeeded", None)] * 2
    assert len(peer.connections) == 1
    peer.close()


def test_arguments_that_make_no_client_are_named(module: Any) -> None:
    mesh = mesh_of("127.0.0.1:1")
    with pytest.raises(ValueError, match="wire is 'http': want one of 'auto', 'ttheader'"):
        mesh_thrift.client(mesh, "a:1", module.Reviews, wire="http")
    with pytest.raises(ValueError, match="timeout_s is 0: want seconds above 0"):
        mesh_thrift.client(mesh, "a:1", module.Reviews, timeout_s=0)
    with pytest.raises(ValueError, match="connect_timeout_s is -1"):
        mesh_thrift.client(mesh, "a:1", module.Reviews, connect_timeout_s=-1)
    with pytest.raises(TypeError, match="is no Thrift service"):
        mesh_thrift.client(mesh, "a:1", module)


def test_bytes_before_the_arguments_are_made_once_for_the_same_context(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Scripted(reply_to)
    client = client_of(module, peer.address)
    made: list[Wire] = []
    original = frames.of_bodies

    def counted(wire: Wire, *args: Any) -> frames.Frame:
        made.append(wire)
        return original(wire, *args)

    monkeypatch.setattr(frames, "of_bodies", counted)
    for _ in range(5):
        client.nothing("t")
    assert made == [Wire.TTHEADER]
    peer.close()


def test_what_is_remembered_of_endpoints_that_came_and_went_is_bounded() -> None:
    verdicts = probe.Verdicts("reviews:9080")
    for number in range(probe.MAX_KNOWN + 5):
        address = f"10.0.{number // 256}.{number % 256}:9080"
        verdicts.answered(address, Wire.TTHEADER, probe.Answer.YES, 0.01, 1.0)
        assert verdicts.known(address, 2.0) is Wire.TTHEADER
    assert len(verdicts._known) <= probe.MAX_KNOWN

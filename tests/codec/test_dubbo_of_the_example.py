"""The wire code of examples/dubbo, which tests use, agrees with Apache's and with the engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dubbo_wire import (
    SERVER_ERROR,
    Consumer,
    FrameError,
    Provider,
    Reply,
    Request,
    decode,
    encode_reply,
    encode_request,
)
from hessian2 import Date, HessianError, Instance, Long, Reader, Writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meltemi.engine import decode_messages

FRAMES = Path(__file__).resolve().parents[1] / "golden" / "dubbo" / "frames.jsonl"
INTERFACE = "org.apache.dubbo.samples.basic.api.DemoService"
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)


def golden() -> list[dict[str, Any]]:
    found = [json.loads(line) for line in FRAMES.read_text().splitlines()]
    return [frame for frame in found if frame["serialization"] == 2]


def named(name: str) -> bytes:
    return next(bytes.fromhex(frame["hex"]) for frame in golden() if frame["name"] == name)


def strings(attachments: Any) -> dict[str, str]:
    return {key: value for key, value in (attachments or {}).items() if isinstance(value, str)}


def test_every_frame_of_others_is_read_to_its_end() -> None:
    frames = golden()
    assert len(frames) > 100
    for frame in frames:
        message = decode(bytes.fromhex(frame["hex"]))
        if frame["kind"].startswith("heartbeat"):
            assert message.event, frame["name"]
        elif isinstance(message, Request):
            assert (message.interface, message.method, message.version) == (
                frame["interface"],
                frame["method"],
                frame["version"] or "",
            ), frame["name"]
            assert strings(message.attachments) == frame["attributes"], frame["name"]
            assert message.two_way == (frame["kind"] == "call")
        else:
            assert message.failed == (frame["kind"] == "exception"), frame["name"]
            assert bool(message.reason) == message.failed, frame["name"]
        assert str(message.id) == frame["id"]


def test_what_is_written_is_what_apache_dubbo_writes() -> None:
    call = Request(INTERFACE, "sayHello", ("world",), {"x": "y"}, version="1.2.3", id=1)
    theirs = named("dubbo-sayHello")
    typed_map = b"M\x17java.util.LinkedHashMap"
    at = theirs.index(typed_map)  # ours has no Java type, and other attachments
    ours = encode_request(call)
    assert ours[16:at] == theirs[16:at]
    assert ours[:12] == theirs[:12]
    hello = Reply(id=21, value="hello")
    assert encode_reply(hello) == named("dubbo-reply-value")
    attachments = {"dubbo": "2.0.2", "lane": "blue", "trace": "7"}
    with_attachments = Reply(id=21, value="hello", attachments=attachments)
    assert encode_reply(with_attachments) == named("dubbo-reply-value-attachments")
    assert encode_reply(Reply(id=23)) == named("dubbo-reply-null")
    refused = Reply(id=90, status=60, value="status 60: nothing to see")
    assert encode_reply(refused) == named("dubbo-reply-status-60")
    beat = Request(id=41, event=True)
    assert encode_request(beat) == named("dubbo-event-heartbeat-request")
    answer = Reply(id=42, event=True)
    assert encode_reply(answer) == named("dubbo-event-heartbeat-reply-response")
    unicode = Writer().write("καλημέρα \U0001f600 你好").out
    assert bytes(unicode) in named("dubbo-unicode")
    long = Writer().write("a" * 32_766 + "ä\U0001f600" * 9).out
    assert bytes(long) in named("dubbo-long-string")


@PATIENT
@given(st.lists(VALUES, max_size=4), st.dictionaries(st.text(), st.text() | VALUES, max_size=5))
def test_the_engine_reads_the_attributes_of_what_is_written(
    arguments: list[Any], attachments: dict[str, Any]
) -> None:
    call = Request(INTERFACE, "sayHello", tuple(arguments), attachments, version="2", id=7)
    frame = encode_request(call)
    again = decode(frame)
    assert isinstance(again, Request)
    assert again.arguments == tuple(arguments)
    assert again.attachments.items() >= attachments.items()
    (seen,) = decode_messages("dubbo", "request", frame)
    found = seen["attributes"]
    assert isinstance(found, dict)
    assert (found["method"], found["interface"]) == (b"sayHello", INTERFACE.encode())
    assert seen["id"] == 7 and seen["kind"] == "request"


@PATIENT
@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    reader = Reader(bytes(Writer().write(value).out))
    assert reader.read() == value
    assert reader.at_end


def test_longs_dates_and_objects_keep_what_they_are() -> None:
    one = Instance("a.B", {"x": 1, "y": [Instance("a.B", {"x": 2, "y": None})]})
    written = bytes(Writer().write(Long(5)).write(Date(1_700_000_000_123)).write(one).out)
    assert written[0] == ord("L") and written.count(b"a.B") == 1
    reader = Reader(written)
    assert reader.read() == 5
    date = reader.read()
    assert isinstance(date, Date) and date == 1_700_000_000_123
    again = reader.read()
    assert isinstance(again, Instance) and again.name == "a.B" and again.fields["x"] == 1


@pytest.mark.parametrize("wrong", [b"", b"\x05abc", b"Q\x90", b"O\x90", b"H\x01a", b"W", b"@"])
def test_bytes_that_are_no_value_are_refused(wrong: bytes) -> None:
    with pytest.raises(HessianError):
        Reader(wrong).read()


def test_values_nested_without_end_are_refused() -> None:
    with pytest.raises(HessianError, match="nested deeper than 100"):
        Reader(b"\x79" * 5_000).read()


def test_a_frame_that_is_cut_or_of_another_serialization_is_refused() -> None:
    frame = encode_request(Request(INTERFACE, "sayHello", ("x",), id=1))
    with pytest.raises(FrameError, match="not one Dubbo frame"):
        decode(frame[:-1])
    with pytest.raises(FrameError, match="serialization 23"):
        decode(frame[:2] + bytes([frame[2] & ~31 | 23]) + frame[3:])


@pytest.fixture
def provider(free_port: Callable[[], int]) -> Iterator[Provider]:
    def handle(request: Request) -> object:
        if request.method == "slow":
            time.sleep(0.3)
        if request.method == "fail":
            raise ValueError("no such name")
        if request.method == "refuse":
            return Reply(status=SERVER_ERROR, value="too many")
        return {"arguments": list(request.arguments), "seen": dict(request.attachments)}

    serving = Provider(("127.0.0.1", free_port()), handle).start()
    yield serving
    serving.stop()


@pytest.fixture
def consumer(provider: Provider) -> Iterator[Consumer]:
    calling = Consumer("127.0.0.1", provider.server_address[1])
    yield calling
    calling.close()


def test_a_slow_call_holds_up_no_other_of_its_connection(consumer: Consumer) -> None:
    slow = consumer.send(Request(INTERFACE, "slow"))
    value = consumer.call(Request(INTERFACE, "echo", ("a", 1), {"lane": "blue"})).value
    assert isinstance(value, dict)
    assert value["arguments"] == ["a", 1] and value["seen"]["lane"] == "blue"
    assert not slow.done()
    assert slow.result(5).value is not None


def test_exceptions_and_refusals_come_back_as_such(consumer: Consumer) -> None:
    failed = consumer.call(Request(INTERFACE, "fail"))
    assert (failed.exception, failed.status, failed.reason) == (True, 20, "no such name")
    refused = consumer.call(Request(INTERFACE, "refuse"))
    assert (refused.exception, refused.status, refused.reason) == (False, 80, "too many")


def test_heartbeats_are_answered_and_oneway_calls_are_not(consumer: Consumer) -> None:
    assert consumer.heartbeat().event
    assert consumer.send(Request(INTERFACE, "echo", two_way=False)).done()
    assert consumer.call(Request(INTERFACE, "echo")).id == 3


def test_a_lost_connection_fails_what_waits_for_it(provider: Provider, consumer: Consumer) -> None:
    waiting = consumer.send(Request(INTERFACE, "slow"))
    threading.Timer(0.05, consumer.close).start()
    with pytest.raises(ConnectionError):
        waiting.result(5)
    with pytest.raises(ConnectionError):
        consumer.call(Request(INTERFACE, "echo"))

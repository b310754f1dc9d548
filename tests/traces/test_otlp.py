"""OTLP/HTTP as SDKs and people's tools send it: what is read, and what is refused and why."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it has none
from hypothesis import given
from hypothesis import strategies as st
from meltemi.traces import otlp
from meltemi.traces.spans import Kind, Span
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1 import trace_pb2
from otlp_spans import BEGAN, CLIENT, MILLISECOND, SERVER, TRACE, export, of, span

# The example of the OTLP specification's repository (examples/trace.json), shortened.
IN_JSON = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "my.library", "version": "1.0.0"},
                    "spans": [
                        {
                            "traceId": "5B8EFFF798038103D269B633813FC60C",
                            "spanId": "EEE19B7EC3C1B174",
                            "parentSpanId": "EEE19B7EC3C1B173",
                            "name": "I'm a server span",
                            "startTimeUnixNano": "1544712660000000000",
                            "endTimeUnixNano": "1544712661000000000",
                            "kind": 2,
                            "attributes": [
                                {"key": "rpc.system", "value": {"stringValue": "thrift"}},
                                {"key": "meltemi.attempts", "value": {"intValue": "2"}},
                            ],
                            "status": {},
                            "fieldOfTomorrow": True,
                        }
                    ],
                }
            ],
        }
    ]
}


def decoded(body: bytes, media_type: str = otlp.PROTOBUF, encoding: str = "") -> otlp.Export:
    return otlp.decode(media_type, encoding, body)


def only(export: otlp.Export) -> Span:
    (found,) = export.spans
    assert export.rejected == 0
    return found


def refused(body: bytes, media_type: str = otlp.PROTOBUF, encoding: str = "") -> otlp.Refused:
    with pytest.raises(otlp.Refused) as caught:
        otlp.decode(media_type, encoding, body)
    return caught.value


def test_a_span_is_read_with_whose_it_is() -> None:
    sent = span(2, 1, CLIENT, 3, 5, name="ratings", meltemi__lane="dev", meltemi__attempts=2, x="y")
    found = only(decoded(export(of("reviews", "v2", sent))))
    assert found == Span(
        trace=TRACE,
        id="0000000000000002",
        parent="0000000000000001",
        name="ratings",
        kind=Kind.CLIENT,
        start=BEGAN + 3 * MILLISECOND,
        end=BEGAN + 8 * MILLISECOND,
        source=found.source,
        attributes={"meltemi.lane": "dev", "meltemi.attempts": "2"},
    )
    source = found.source
    said = (source.service, source.version, source.instance, source.namespace)
    assert said == ("reviews", "v2", "reviews-v2-0", "default")


def test_the_query_of_a_url_is_not_kept() -> None:
    sent = span(1, url__full="http://a:1/b?token=secret", http__target="/b?token=secret")
    attributes = only(decoded(export(of("a", "", sent)))).attributes
    assert attributes == {"url.full": "http://a:1/b", "http.target": "/b"}


def test_json_says_ids_in_hex_and_may_have_fields_that_nobody_knows() -> None:
    found = only(decoded(json.dumps(IN_JSON).encode(), otlp.JSON))
    assert (found.trace, found.id, found.parent) == (
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
        "eee19b7ec3c1b173",
    )
    assert (found.kind, found.end - found.start) == (Kind.SERVER, 1_000_000_000)
    assert found.attributes == {"rpc.system": "thrift", "meltemi.attempts": "2"}


@pytest.mark.parametrize(("status", "says"), [("no route", "no route"), ("", "error")])
def test_a_failed_span_says_why(status: str, says: str) -> None:
    assert only(decoded(export(of("a", "", span(1, error=status))))).error == says


def test_a_body_may_be_gzip() -> None:
    body = gzip.compress(export(of("a", "v1", span(1))))
    assert only(decoded(body, encoding="gzip")).source.service == "a"


@pytest.mark.parametrize(
    "bad",
    [
        trace_pb2.Span(trace_id=b"1" * 15, span_id=b"1" * 8),
        trace_pb2.Span(trace_id=b"1" * 16, span_id=b""),
        trace_pb2.Span(trace_id=bytes(16), span_id=b"1" * 8),
        trace_pb2.Span(trace_id=b"1" * 16, span_id=bytes(8)),
    ],
)
def test_a_span_without_its_ids_is_rejected_and_the_others_are_taken(bad: trace_pb2.Span) -> None:
    found = decoded(export(of("a", "v1", bad, span(1))))
    assert (len(found.spans), found.rejected) == (1, 1)
    answer = ExportTraceServiceResponse.FromString(
        otlp.response(otlp.PROTOBUF, found.rejected, found.problem)
    )
    assert answer.partial_success.rejected_spans == 1
    assert "trace id of 16 bytes" in answer.partial_success.error_message


def test_full_success_says_nothing() -> None:
    assert otlp.response(otlp.PROTOBUF, 0, "") == b""
    assert json.loads(otlp.response(otlp.JSON, 0, "")) == {}


def test_more_spans_than_one_request_may_have_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_SPANS", 3)
    found = decoded(export(of("a", "v1", *(span(number) for number in range(1, 6)))))
    assert (len(found.spans), found.rejected, found.problem) == (3, 2, "2 over 3 in one request")


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"not protobuf at all", export(of("a", "", span(1)))[:-3]],
)
def test_what_is_no_protobuf_is_a_bad_request(body: bytes) -> None:
    assert refused(body).status == 400


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"resourceSpans": 1}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_otlp_json_is_a_bad_request(body: str) -> None:
    answer = refused(body.encode(), otlp.JSON)
    assert answer.status == 400
    assert json.loads(otlp.refusal(otlp.JSON, answer))["code"] == 3


def test_a_refusal_is_a_status_of_google_rpc() -> None:
    answer = refused(b"\xff")
    status = Status.FromString(otlp.refusal(otlp.PROTOBUF, answer))
    assert (status.code, status.message) == (3, answer.message)
    long = otlp.Refused(400, 3, "ä" * 5000)
    assert Status.FromString(otlp.refusal(otlp.PROTOBUF, long)).message == "ä" * 500


def test_a_body_that_is_too_large_unpacked_is_refused_before_it_is() -> None:
    answer = refused(zlib_bomb(), encoding="gzip")
    assert (answer.status, answer.code) == (413, 8)
    assert refused(bytes(otlp.MAX_BYTES + 1)).status == 413


def zlib_bomb() -> bytes:
    packing = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join([*(packing.compress(zeros) for _ in range(200)), packing.flush()])


@pytest.mark.parametrize("cut", [gzip.compress(b"x" * 99)[:-9], b"plain", gzip.compress(b"") * 2])
def test_what_is_not_one_gzip_stream_is_a_bad_request(cut: bytes) -> None:
    assert refused(cut, encoding="gzip").status == 400


def test_other_encodings_and_types_are_named() -> None:
    assert refused(b"", encoding="br").status == 415
    assert otlp.encoding("Application/X-Protobuf; charset=x") == otlp.PROTOBUF
    with pytest.raises(otlp.Refused, match="text/plain"):
        otlp.encoding("text/plain")


def test_a_span_that_ends_before_it_starts_has_no_duration() -> None:
    found = only(decoded(export(of("a", "", span(1, kind=SERVER, duration_ms=-5)))))
    assert found.end == found.start


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for media_type, encoding in ((otlp.PROTOBUF, ""), (otlp.JSON, ""), (otlp.PROTOBUF, "gzip")):
        try:
            otlp.decode(media_type, encoding, body)
        except otlp.Refused as answer:
            assert answer.status in (400, 413)

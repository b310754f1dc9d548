"""What a route changes in what a call carries, as Envoy's `append_action` says it."""

from __future__ import annotations

from typing import Any

import pytest
from meltemi.engine import decode_messages
from meltemi.proxyless.calls import changed
from meltemi.proxyless.context import outgoing
from meltemi.proxyless.metainfo import with_transient
from meltemi.proxyless.thrift.calls import Caller, Prepared
from meltemi.proxyless.thrift.reply import change_received, received_metadata
from meltemi.proxyless.thrift.service import methods_of
from meltemi.proxyless.thrift.wire import Wire
from opentelemetry.context import Context, attach, detach
from thrift_peers import load

# What a header that is there, and one that is not, are after a change to "new".
CASES = [
    ("set", "new", "new"),
    ("set-if-missing", "old", "new"),
    ("set-if-present", "new", None),
    ("remove", None, None),
]


@pytest.mark.parametrize(("how", "there", "missing"), CASES)
def test_headers_of_http_and_grpc(how: str, there: str | None, missing: str | None) -> None:
    value = "" if how == "remove" else "new"
    after = changed([("X-Lane", "old")], [(how, "x-lane", value)])
    assert {name.lower(): each for name, each in after}.get("x-lane") == there
    assert dict(changed([], [(how, "x-lane", value)])).get("x-lane") == missing


@pytest.mark.parametrize(("how", "there", "missing"), CASES)
def test_metadata_of_thrift(
    tmp_path: Any, how: str, there: str | None, missing: str | None
) -> None:
    value = "" if how == "remove" else "new"
    module = load(tmp_path)
    method = methods_of(module.Reviews, None, None)[0]
    for context, wanted in (
        (with_transient("lane", "old", Context()), there),
        (Context(), missing),
    ):
        token = attach(context)
        try:
            prepared = Prepared(Caller("Reviews", "reviews", "front"), method, outgoing(), None)
        finally:
            detach(token)
        frame = prepared.changed(Wire.TTHEADER, [(how, "lane", value)])
        decoded: Any = decode_messages("thrift", "request", frame(7, b"\0"))
        seen = decoded[0]["attributes"].get("RPC_TRANSIT_lane")
        assert (seen and seen.decode()) == wanted


@pytest.mark.parametrize(("how", "there", "missing"), CASES)
def test_metadata_of_replies(how: str, there: str | None, missing: str | None) -> None:
    value = "" if how == "remove" else "new"
    with received_metadata() as received:
        received["Lane"] = "old"
        change_received([(how, "lane", value)])
        assert {name.lower(): each for name, each in received.items()}.get("lane") == there
        received.clear()
        change_received([(how, "lane", value)])
        assert received.get("lane") == missing

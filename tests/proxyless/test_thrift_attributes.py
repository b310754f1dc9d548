"""What routes can match of a call is what the sidecar's codec would show of its bytes."""

from __future__ import annotations

from typing import Any

import pytest
from meltemi.engine import decode_messages
from meltemi.proxyless import metainfo
from meltemi.proxyless.context import outgoing
from meltemi.proxyless.thrift.calls import Caller, Prepared
from meltemi.proxyless.thrift.service import methods_of
from meltemi.proxyless.thrift.wire import Wire
from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach


@pytest.mark.parametrize("multiplexed", [None, "shop"])
@pytest.mark.parametrize("wire", list(Wire))
def test_the_sidecar_sees_no_attribute_that_a_call_lacks(
    module: Any, wire: Wire, multiplexed: str | None
) -> None:
    context = metainfo.with_persistent("User-Name", "ada", baggage.set_baggage("env", "dev"))
    token = attach(metainfo.with_transient("hop", "1", context))
    try:
        carried = outgoing()
    finally:
        detach(token)
    caller = Caller("Reviews", "reviews", "front", timeout_ms=250)
    for method in methods_of(module.Reviews, None, multiplexed):
        prepared = Prepared(caller, method, carried, "list")
        data = prepared.frame(wire)(7, b"\0")
        decoded: Any = decode_messages("thrift", "request", data)
        (seen,) = decoded
        attributes = dict(prepared.attributes)
        pairs = seen["attributes"].items()
        shown = {name.lower(): value.decode() for name, value in pairs}
        assert shown["method"] == method.name
        assert shown.get("service") == multiplexed
        for name, value in shown.items():
            assert attributes[name] == value
        if wire in (Wire.TTHEADER, Wire.TTHEADER_FRAMED):
            # What else there is are names without Kitex's prefix.
            assert attributes.keys() - shown.keys() == {"baggage", "user-name", "hop"}
        assert seen["kind"] == ("oneway" if method.oneway else "request")


def test_a_call_without_metadata_has_the_method_and_its_names_alone(module: Any) -> None:
    token = attach(Context())
    try:
        carried = outgoing()
    finally:
        detach(token)
    method = methods_of(module.Reviews, None, None)[0]
    prepared = Prepared(Caller("Reviews", "reviews", ""), method, carried, None)
    assert dict(prepared.attributes) == {
        "method": method.name,
        "isn": "Reviews",
        "toservice": "reviews",
        "tomethod": method.name,
        "msgtype": "1",
        "transporttype": "unframed",
    }

"""Consumer and provider of Apache Dubbo call each other through two sidecars."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections import Counter
from typing import Any

import pytest
from apache_dubbo import DUBBO_PORT, LIMITED, Consumer, stats
from mesh import Mesh, eventually

pytestmark = pytest.mark.peers

MIB = 1 << 20
AT_ONCE_MS = 5_000
"""An answer of the mesh's own comes at once: far below the callers' timeout of 20 s."""


def java_hash(data: bytes) -> int:
    """`Arrays.hashCode` of Java."""
    found = functools.reduce(
        lambda so_far, byte: (31 * so_far + (byte ^ 0x80) - 0x80) & 0xFFFF_FFFF, data, 1
    )
    return (found ^ 1 << 31) - (1 << 31)


def pattern(count: int) -> bytes:
    """What the provider's `bytes` gives."""
    return bytes(n * 31 & 0xFF for n in range(count))


def pod(reply: str) -> str:
    return reply.partition("response from ")[2].partition("/")[0]


def accepted(shop: Consumer, service: str = "shop") -> float:
    """The connections that the consumer's sidecar has taken for a service."""
    host, _ = shop.services[service]
    name = f"listener.{host}_{DUBBO_PORT}.downstream_cx_total"
    return stats(shop.mesh, "consumer.shop")[name]


ORDER: dict[str, Any] = {
    "number": 1 << 40,
    "customer": "Κική 😀",
    "placed": 1_700_000_000_123,
    "paid": True,
    "weight": 2.5,
    "lines": [
        {"article": "a", "count": 1, "price": 12.5, "colour": "GREEN"},
        {"article": "b" * 40_000, "count": -7, "price": 0.25, "colour": "RED"},
    ],
    "byName": {"x": {"article": "x", "count": 3, "price": 1.5, "colour": "RED"}},
    "picture": [-128, 0, 127],
    "replaces": None,
}


def test_typed_calls_are_shared_by_both_providers_in_turn(shop: Consumer) -> None:
    replies = [shop.value("sayHello", f"caller {n}") for n in range(20)]
    for n, reply in enumerate(replies):
        assert reply.startswith(f"Hello caller {n}, response from shop-")
    assert Counter(map(pod, replies)) == {"shop-v1-0": 10, "shop-v2-0": 10}


def test_generic_calls_go_through(shop: Consumer) -> None:
    assert shop.value("sayHello", "you", generic=True).startswith("Hello you, response from shop-")
    order = {"class": "interop.Order", "number": 4, "customer": "K", "lines": []}
    found = shop.value("order", order, generic=True)
    assert (found["class"], found["number"], found["customer"]) == ("interop.Order", 5, "K")


@pytest.mark.parametrize(
    ("how", "error", "more"),
    [
        ("checked", "interop.ShopClosed", {"message": "closed on Sundays", "code": 7}),
        ("own", "interop.ShopBroken", {"cause": "java.lang.IllegalArgumentException"}),
        ("state", "java.lang.IllegalStateException", {"message": "no such state: state"}),
    ],
)
def test_an_exception_of_the_provider_is_thrown_at_the_consumer(
    shop: Consumer, how: str, error: str, more: dict[str, Any]
) -> None:
    found = shop.call("fail", how)
    assert found["error"] == error
    assert found.items() >= more.items()


def test_an_exception_of_a_generic_call_is_thrown_too(shop: Consumer) -> None:
    found = shop.call("fail", "checked", generic=True)
    assert "GenericException" in found["error"] and "closed on Sundays" in found["message"]


def test_a_null_comes_as_a_null(shop: Consumer) -> None:
    found = shop.call("nothing")
    assert (found["value"], found["type"]) == (None, None) and "error" not in found


@pytest.mark.parametrize("count", [17_000, 2 * MIB])
def test_a_large_reply_comes_whole(shop: Consumer, count: int) -> None:
    assert shop.value("bytes", count) == {"length": count, "hash": java_hash(pattern(count))}
    assert shop.value("text", count) == "aé你" * (count // 3)


@pytest.mark.parametrize("count", [17_000, MIB + 1])
def test_a_large_request_and_its_reply_come_whole(shop: Consumer, count: int) -> None:
    name = "né😀" * (count // 3)
    assert shop.value("sayHello", name).startswith(f"Hello {name}, response from ")
    data = list(pattern(count // 8))
    signed = [(byte ^ 0x80) - 0x80 for byte in data]
    assert shop.value("upload", signed)["hash"] == java_hash(bytes(data))


def test_objects_come_back_as_they_were(shop: Consumer) -> None:
    assert shop.value("order", ORDER) == ORDER | {"number": ORDER["number"] + 1}
    assert shop.value("orders", [ORDER, ORDER | {"replaces": ORDER}, None])[1]["replaces"] == ORDER
    assert shop.value("replacesItself", {"number": 1, "replaces": {"$ref": "$"}}) is True


def test_maps_and_lists_come_back_as_they_were(shop: Consumer) -> None:
    given = {"a": 1, "b": [1, 2.5, {"c": None, "d": [[], {}]}], "l": 1 << 40, "": "é" * 3000}
    assert shop.value("map", given) == given
    assert shop.value("any", [given, None, True, "x"]) == [given, None, True, "x"]
    assert shop.value("any", None) is None


def test_every_kind_of_number_comes_back_as_it_was(shop: Consumer) -> None:
    for sign in (1, -1):
        given = [sign * 70_000, sign << 62, sign / 3, 1.5, True, -5, 300, "ω", 1_700_000_000_123]
        given += [None, [sign, sign << 40, 0]]
        assert shop.value("numbers", *given) == given


def test_attachments_go_both_ways(shop: Consumer) -> None:
    found = shop.call("attachments", attachments={"lane": "blue", "Long": "λ" * 2000})
    assert found["value"].items() >= {"lane": "blue", "Long": "λ" * 2000}.items()
    assert found["attachments"].items() >= {"seen": "yes", "echo": "blue"}.items()
    assert "lane" not in shop.call("attachments")["value"]


def test_rules_by_attachment_method_and_interface_hold_for_real_calls(shop: Consumer) -> None:
    ruled = functools.partial(shop.value, url=shop.url("ruled"))
    gray = [ruled("sayHello", "x", attachments={"lane": "gray"}) for _ in range(6)]
    rest = [ruled("sayHello", "x") for _ in range(6)]
    generic = [ruled("sayHello", "x", generic=True) for _ in range(6)]
    assert [set(map(pod, found)) for found in (gray, rest, generic)] == [
        {"shop-v2-0"},
        {"shop-v1-0"},
        {"shop-v2-0"},
    ]
    assert ruled("map", {"by": "method"}) == {"by": "method"}


def test_attachments_that_a_rule_sets_and_removes_are_seen_by_provider_and_consumer(
    shop: Consumer,
) -> None:
    url = shop.url("ruled")
    given = {"edit": "yes", "lane": "blue", "gone": "soon", "kept": "é"}
    found = shop.call("attachments", attachments=given, url=url)
    assert found["value"].items() >= {"foo": "bar", "LANE": "λ" * 1000, "kept": "é"}.items()
    assert not {"lane", "gone"} & found["value"].keys()
    assert found["attachments"]["seen"] == "by the mesh" and "echo" not in found["attachments"]
    # Arguments and values stay what they are, beside attachments that change.
    edit = {"edit": "yes", "gone": "x"}
    assert shop.value("order", ORDER, attachments=edit, url=url)["lines"] == ORDER["lines"]
    assert shop.value("text", MIB, attachments=edit, url=url) == "aé你" * (MIB // 3)
    assert shop.value("nothing", attachments=edit, url=url) is None
    failed = shop.call("fail", "checked", attachments=edit, url=url)
    assert (failed["error"], failed["code"]) == ("interop.ShopClosed", 7)


def test_calls_in_flight_together_get_each_its_own_answer_out_of_order(shop: Consumer) -> None:
    shop.value("sayHello", "you")
    before = accepted(shop)
    calls = [(f"call {n}", 3000 - 50 * n) for n in range(60)]
    found = shop.together(*calls)
    assert sorted(found["value"]) == sorted([what, what] for what, _ in calls)
    places = {what: place for place, (what, _) in enumerate(found["value"])}
    assert places["call 59"] < places["call 0"]  # which was asked first
    assert found["ms"] < sum(delay for _, delay in calls) / 4
    assert accepted(shop) == before  # all of them over one connection


def test_a_oneway_call_arrives_and_is_not_waited_for(shop: Consumer) -> None:
    url = shop.url(parameters="timeout=20000&connections=1&note.return=false&note.sent=false")
    texts = {f"note {n}" for n in range(10)}
    for text in sorted(texts):
        found = shop.call("note", text, url=url)
        assert "error" not in found and found["attachments"] == {}
    seen: set[str] = set()

    def all_came() -> bool:
        seen.update(shop.value("notes"))
        return texts <= seen

    eventually(all_came)
    assert shop.value("sayHello", "you", url=url).startswith("Hello you")


def test_an_idle_connection_lives_by_the_heartbeats_of_the_consumer(shop: Consumer) -> None:
    # 3 heartbeats without an answer, and the consumer would connect again.
    beats = 200
    url = shop.url("nobody", f"timeout=20000&connections=1&heartbeat={beats}")
    host, _ = shop.services["nobody"]
    listener = f"listener.{host}_{DUBBO_PORT}.downstream_cx_"

    def count() -> dict[str, float]:
        found = stats(shop.mesh, "consumer.shop")
        return {end: found[listener + end] for end in ("total", "rx_bytes_total", "tx_bytes_total")}

    assert "no healthy upstream" in shop.call("sayHello", "you", url=url)["message"]
    before = count()
    time.sleep(beats * 15 / 1000)
    after = count()
    assert after["total"] == before["total"]
    assert after["rx_bytes_total"] - before["rx_bytes_total"] >= 5 * 17
    assert after["tx_bytes_total"] - before["tx_bytes_total"] >= 5 * 17


def test_the_heartbeats_of_the_provider_are_answered(shop: Consumer) -> None:
    answered, sent = shop.value("beat")
    assert answered == sent >= 1


@pytest.mark.parametrize(
    ("service", "method", "reason"),
    [
        ("nobody", "sayHello", "no healthy upstream for 'outbound|20880||nobody.shop.svc."),
        ("ruled", "text", "no route matches in 'ruled.shop.svc.cluster.local_20880'"),
    ],
)
def test_a_call_that_cannot_be_forwarded_is_answered_at_once_with_the_reason(
    shop: Consumer, service: str, method: str, reason: str
) -> None:
    # A connection of its own: Dubbo avoids for a second the provider of which such an answer came.
    url = shop.url(service, f"timeout=20000&connections=1&once={time.monotonic_ns()}")
    found = shop.call(method, 3, url=url)
    assert found["error"] == "org.apache.dubbo.rpc.RpcException"
    assert reason in found["message"]
    assert found["timeout"] is False and found["ms"] < AT_ONCE_MS


def test_a_call_over_a_limit_is_answered_at_once_with_the_reason(shop: Consumer) -> None:
    url = shop.url("ruled", "timeout=20000&connections=1&of=limit")
    limited = {"limited": "java"}
    found = [shop.call("sayHello", "you", url=url, attachments=limited) for _ in range(3)]
    assert ["value" in answer for answer in found] == [True, True, False]
    assert found[2]["error"] == "org.apache.dubbo.rpc.RpcException"
    assert LIMITED in found[2]["message"]
    assert found[2]["timeout"] is False and found[2]["ms"] < AT_ONCE_MS
    # The consumer does not leave the provider for it: what is not limited passes at once.
    for _ in range(5):
        assert shop.value("sayHello", "you", url=url).startswith("Hello you")
        assert LIMITED in shop.call("sayHello", "you", url=url, attachments=limited)["message"]


def test_a_service_that_the_provider_has_not_got_is_refused_in_its_own_words(
    shop: Consumer,
) -> None:
    found = shop.call("sayHello", "you", interface="Other")
    assert found["error"] == "org.apache.dubbo.rpc.RpcException"
    assert "Fail to decode request" in found["message"] and found["ms"] < AT_ONCE_MS
    assert shop.value("sayHello", "you").startswith("Hello you")


FASTJSON2 = "timeout=20000&connections=1&serialization=fastjson2&prefer.serialization=fastjson2"


def test_another_serialization_is_forwarded(shop: Consumer) -> None:
    fast = functools.partial(shop.call, url=shop.url(parameters=FASTJSON2), version="fast")
    hello = [fast("sayHello", "you")["value"] for _ in range(10)]
    assert Counter(map(pod, hello)) == {"shop-v1-0": 5, "shop-v2-0": 5}
    assert fast("order", ORDER)["value"] == ORDER | {"number": ORDER["number"] + 1}
    assert fast("nothing")["value"] is None
    assert fast("bytes", MIB)["value"]["length"] == MIB
    assert fast("attachments", attachments={"lane": "blue"})["attachments"]["echo"] == "blue"
    assert fast("fail", "state")["error"] == "java.lang.IllegalStateException"


def test_no_rule_sees_the_attributes_of_another_serialization(shop: Consumer) -> None:
    url = shop.url("ruled", FASTJSON2)
    found = shop.call("sayHello", "you", url=url, version="fast", attachments={"lane": "gray"})
    assert "no route matches in 'ruled.shop.svc.cluster.local_20880'" in found["message"]


def test_a_consumer_calls_on_over_its_connection_when_providers_were_started_again(
    shop: Consumer, apache_mesh: Mesh
) -> None:
    url = shop.url(parameters="timeout=20000&connections=1&retries=0&of=restart")
    assert shop.value("sayHello", "you", url=url).startswith("Hello you")
    before = accepted(shop)
    for name in ("shop-v1-0.shop", "shop-v2-0.shop"):
        os.kill(apache_mesh.processes()[name]["pid"], signal.SIGKILL)
    away = shop.call("sayHello", "you", url=url)
    assert away["error"] == "org.apache.dubbo.rpc.RpcException" and away["ms"] < AT_ONCE_MS
    seen: set[str] = set()

    def both_serve() -> bool:
        seen.add(pod(shop.call("sayHello", "you", url=url).get("value", "")))
        return {"shop-v1-0", "shop-v2-0"} <= seen

    eventually(both_serve, 60)
    assert accepted(shop) == before

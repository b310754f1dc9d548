"""What calls carry from hop to hop, whether anybody traces or not."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from meltemi.proxyless import baggage, handoff, metainfo
from meltemi.proxyless.context import incoming, outgoing
from opentelemetry import baggage as otel
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import get_current_span, set_span_in_context
from opentelemetry.trace.span import NonRecordingSpan

UNSAMPLED = "00-11111111111111111111111111111111-2222222222222222-00"


@contextmanager
def current(context: Context) -> Iterator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def members() -> dict[str, object]:
    return dict(otel.get_all())


def test_nothing_is_carried_where_there_is_nothing() -> None:
    with current(Context()):
        what = outgoing()
    assert (what.headers, what.http, what.grpc, dict(what.thrift)) == ((), (), (), {})


def test_an_unsampled_trace_and_its_baggage_go_on_without_an_sdk() -> None:
    context = incoming({"Traceparent": UNSAMPLED, "tracestate": "a=1", "BAGGAGE": "env=dev;ttl=3"})
    assert outgoing(context).headers == (
        ("traceparent", UNSAMPLED),
        ("tracestate", "a=1"),
        ("baggage", "env=dev;ttl=3"),
    )


def test_baggage_goes_on_without_any_trace() -> None:
    assert outgoing(incoming({"baggage": "env=dev"})).headers == (("baggage", "env=dev"),)


def test_a_malformed_traceparent_costs_the_baggage_nothing() -> None:
    context = incoming({"traceparent": "00-zz-1-00", "baggage": "env=dev"})
    assert outgoing(context).headers == (("baggage", "env=dev"),)


def test_several_baggage_headers_are_one() -> None:
    context = incoming([("baggage", "env=dev;ttl=3"), ("baggage", "user=7"), ("x", "y")])
    assert outgoing(context).headers == (("baggage", "env=dev;ttl=3,user=7"),)


def test_values_may_be_bytes() -> None:
    assert otel.get_all(incoming([("baggage", b"env=dev")])) == {"env": "dev"}


def test_baggage_of_opentracing_and_jaeger_is_read_where_w3c_lacks_it() -> None:
    context = incoming(
        {
            "baggage": "env=dev",
            "ot-baggage-env": "prod",
            "OT-Baggage-user": "a%20b+c",
            "uberctx-sd-routing-key": "k+1",
        }
    )
    assert otel.get_all(context) == {"env": "dev", "user": "a b+c", "sd-routing-key": "k 1"}


def test_a_request_has_the_baggage_it_came_with_and_no_other() -> None:
    before = otel.set_baggage("env", "dev")
    before = metainfo.with_persistent("k", "v", before)
    assert not otel.get_all(incoming({}, context=before))
    assert metainfo.value("k", incoming({}, context=before)) is None
    assert otel.get_all(incoming({"baggage": "user=7"}, context=before)) == {"user": "7"}


def test_a_span_that_continues_the_trace_already_stays() -> None:
    remote = get_current_span(incoming({"traceparent": UNSAMPLED})).get_span_context()
    local = NonRecordingSpan(
        type(remote)(remote.trace_id, 0x3333, is_remote=False, trace_flags=remote.trace_flags)
    )
    context = set_span_in_context(local, Context())
    assert get_current_span(incoming({"traceparent": UNSAMPLED}, context=context)) is local
    other = UNSAMPLED.replace("1111", "4444")
    assert get_current_span(incoming({"traceparent": other}, context=context)) is not local


def test_transient_metainfo_goes_one_hop_and_persistent_for_ever() -> None:
    first = metainfo.with_transient("once", "1", metainfo.with_persistent("ever", "2", Context()))
    sent = outgoing(first).thrift
    assert sent == {"RPC_TRANSIT_once": "1", "RPC_PERSIST_ever": "2"}

    second = incoming(sent)
    assert (metainfo.value("once", second), metainfo.value("ever", second)) == ("1", "2")
    assert outgoing(second).thrift == {"RPC_PERSIST_ever": "2"}
    assert (outgoing(second).transient, outgoing(second).persistent) == ({}, {"ever": "2"})


def test_metainfo_of_the_hop_before_is_read_and_not_sent_on() -> None:
    context = incoming({"RPC_TRANSIT_UPSTREAM_k": "v"})
    assert metainfo.value("k", context) == "v"
    assert outgoing(context).thrift == {}


def test_metainfo_of_http_has_kitexs_names() -> None:
    context = metainfo.with_persistent("MY_KEY", "1", metainfo.with_transient("a", "2", Context()))
    assert outgoing(context).http == (("rpc-transit-a", "2"), ("rpc-persist-my-key", "1"))
    received = incoming(outgoing(context).http)
    assert (metainfo.value("MY_KEY", received), metainfo.value("A", received)) == ("1", "2")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("USER", "ann\r\nx-admin: 1"),
        ("USER\r\nX-ADMIN", "1"),
        ("USER", "Zo\xeb"),
        ("USER", "\udcff"),
        ("USER", "a\0b"),
        ("USER", " ann"),
        ("THE USER", "ann"),
        ("US:ER", "ann"),
    ],
)
def test_metainfo_of_thrift_that_no_header_can_be_made_of_is_in_none(key: str, value: str) -> None:
    context = incoming({f"RPC_PERSIST_{key}": value, "RPC_PERSIST_LANE": "a b"})
    assert outgoing(context).http == (("rpc-persist-lane", "a b"),)
    assert outgoing(context).grpc == (("rpc-persist-lane", "a b"),)
    assert outgoing(context).thrift == {f"RPC_PERSIST_{key}": value, "RPC_PERSIST_LANE": "a b"}
    httpx.Request("GET", "http://books.mesh", headers=outgoing(context).http)


def test_metainfo_is_no_binary_metadata_of_grpc() -> None:
    context = incoming({"RPC_PERSIST_KEY_BIN": "ann"})
    assert outgoing(context).http == (("rpc-persist-key-bin", "ann"),)
    assert outgoing(context).grpc == ()


@pytest.mark.parametrize(("key", "value"), [("", "v"), ("k", ""), ("Baggage", "a=b")])
def test_metainfo_that_could_not_travel_is_refused(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="metainfo"):
        metainfo.with_persistent(key, value)


def test_thrift_carries_w3c_under_the_keys_that_kitex_reads() -> None:
    context = incoming({"baggage": "env=dev", "traceparent": UNSAMPLED})
    assert outgoing(context).thrift == {
        "RPC_TRANSIT_traceparent": UNSAMPLED,
        "RPC_TRANSIT_baggage": "env=dev",
        "RPC_PERSIST_baggage": "env=dev",
    }


def test_grpc_carries_w3c_twice() -> None:
    context = incoming({"baggage": "env=dev"})
    assert outgoing(context).grpc == (("baggage", "env=dev"), ("rpc-transit-baggage", "env=dev"))


@pytest.mark.parametrize(
    "headers",
    [
        {"RPC_TRANSIT_baggage": "env=dev"},
        {"RPC_PERSIST_baggage": "env=dev"},
        {"rpc-transit-baggage": "env=dev"},
        {"rpc-persist-baggage": "env=dev"},
        {"RPC_TRANSIT_BAGGAGE": "env=dev", "RPC_PERSIST_baggage": "env=old"},
        {"baggage": "env=dev", "RPC_TRANSIT_baggage": "env=old"},
        {"RPC_TRANSIT_ot-baggage-env": "dev"},
    ],
)
def test_baggage_is_found_wherever_kitex_puts_it(headers: dict[str, str]) -> None:
    assert otel.get_all(incoming(headers)) == {"env": "dev"}


def test_baggage_survives_a_hop_that_only_keeps_persistent_metainfo() -> None:
    sent = outgoing(incoming({"baggage": "env=dev;ttl=3"})).thrift
    kept = {key: value for key, value in sent.items() if key.startswith("RPC_PERSIST_")}
    assert outgoing(incoming(kept)).headers == (("baggage", "env=dev;ttl=3"),)


def test_metainfo_may_come_by_its_own_keys() -> None:
    context = incoming({}, transient={"a": "1", "baggage": "env=dev"}, persistent={"b": "2"})
    assert otel.get_all(context) == {"env": "dev"}
    assert (metainfo.value("a", context), metainfo.value("b", context)) == ("1", "2")
    assert metainfo.value("baggage", context) is None


def test_an_answer_for_a_context_is_made_once() -> None:
    context = otel.set_baggage("env", "dev", Context())
    assert outgoing(context) is outgoing(context)
    assert outgoing(otel.set_baggage("env", "prod", context)).headers == (("baggage", "env=prod"),)


def test_the_calls_own_span_is_what_the_callee_sees() -> None:
    context = incoming({"traceparent": UNSAMPLED, "baggage": "env=dev"})
    span = get_current_span(incoming({"traceparent": UNSAMPLED.replace("2", "5")}))
    assert outgoing(context, span).headers == (
        ("traceparent", UNSAMPLED.replace("2", "5")),
        ("baggage", "env=dev"),
    )


# Threads, pools, tasks, queues


def test_a_thread_works_in_the_context_it_was_carried_from() -> None:
    seen: list[dict[str, object]] = []
    with current(otel.set_baggage("env", "dev")):
        work = handoff.carry(lambda: seen.append(members()))
        bare = threading.Thread(target=lambda: seen.append(members()))
    for thread in (bare, threading.Thread(target=work), threading.Thread(target=work)):
        thread.start()
        thread.join()
    assert seen == [{}, {"env": "dev"}, {"env": "dev"}]
    assert members() == {}


def test_jobs_of_a_pool_run_in_the_context_of_who_submitted_them() -> None:
    with handoff.CarryingExecutor(ThreadPoolExecutor(1)) as pool:
        with current(otel.set_baggage("env", "dev")):
            first = pool.submit(members)
            mapped = list(pool.map(lambda _: members(), range(2)))
        second = pool.submit(members)
        assert (first.result(), mapped, second.result()) == (
            {"env": "dev"},
            [{"env": "dev"}] * 2,
            {},
        )


async def test_tasks_and_threads_of_asyncio_keep_the_context() -> None:
    loop = asyncio.get_running_loop()

    async def seen() -> dict[str, object]:
        await asyncio.sleep(0)
        return members()

    with current(otel.set_baggage("env", "dev")):
        task = asyncio.create_task(seen())
        carried = handoff.carry(seen)
        by_thread = asyncio.to_thread(members)
        in_executor = loop.run_in_executor(None, handoff.carry(members))
        assert await by_thread == {"env": "dev"}
    assert [await task, await in_executor, await carried()] == [{"env": "dev"}] * 3
    assert members() == {}


def test_concurrent_tasks_do_not_mix() -> None:
    async def one(name: str) -> str:
        with current(incoming({"baggage": f"env={name}"})):
            for _ in range(5):
                await asyncio.sleep(0)
                assert outgoing().headers == (("baggage", f"env={name}"),)
        return name

    async def many() -> list[str]:
        return await asyncio.gather(*(one(str(number)) for number in range(20)))

    assert len(asyncio.run(many())) == 20


def test_a_message_takes_the_context_through_a_queue() -> None:
    messages: queue.Queue[dict[str, str]] = queue.Queue()
    context = incoming({"baggage": "env=dev;ttl=3", "traceparent": UNSAMPLED})
    context = metainfo.with_transient("once", "1", metainfo.with_persistent("Ever", "2", context))
    with current(context):
        headers = {"topic": "orders"}
        handoff.inject(headers)
        messages.put(headers)
    found = messages.get()
    with current(otel.set_baggage("of", "the consumer")):
        consumer = get_current()
        with handoff.extracted(found):
            assert members() == {"env": "dev"}
            assert metainfo.value("once") == "1"
            assert outgoing().thrift["RPC_TRANSIT_baggage"] == "env=dev;ttl=3"
            assert outgoing().persistent["Ever"] == "2"
            assert "once" not in outgoing().transient
        assert get_current() is consumer


def test_a_message_keeps_the_baggage_it_already_has() -> None:
    headers = {"baggage": "user=7"}
    with current(baggage.replaced(baggage.parse("env=dev,user=8"), Context())):
        handoff.inject(headers)
    assert headers["baggage"] == "user=7,env=dev"

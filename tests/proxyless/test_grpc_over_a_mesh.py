"""gRPC, by calls, futures and asyncio, over a real control plane's rules, to real servers."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_callers import Aio, Caller, Futures, Sync
from meltemi.proxyless import metainfo
from opentelemetry import baggage as otel
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ruled_service import TARGET, VERSIONS, Ruled, ruled
from versioned_grpc import SLOW_S, Versioned, serving

TO_ALL = "- route: [{destination: {host: books.mesh}}]"
TO_V1 = "- route: [{destination: {host: books.mesh, subset: v1}}]"
RETRIED = """
- retries: {attempts: 5, retryOn: unavailable}
  route: [{destination: {host: books.mesh}}]
"""


@pytest.fixture(scope="module")
def servers(free_port: Callable[[], int], ports: dict[str, int]) -> Iterator[dict[str, Versioned]]:
    with serving({version: ports[version] for version in VERSIONS}) as made:
        yield made


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> dict[str, int]:
    return {version: free_port() for version in (*VERSIONS, "dead")}


@pytest.fixture(scope="module")
def service(
    servers: dict[str, Versioned],
    ports: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Ruled]:
    directory = tmp_path_factory.mktemp("grpc") / "mesh"
    with ruled(directory, (free_port(), free_port()), "grpc", ports) as made:
        yield made


@pytest.fixture(params=[Sync, Futures, Aio])
def caller(request: pytest.FixtureRequest, service: Ruled) -> Caller:
    made: Caller = request.param(service.mesh, TARGET)
    return made


def version(response: bytes) -> str:
    return str(json.loads(response)["version"])


def metadata(response: bytes, name: str) -> list[str]:
    return [value for each, value in json.loads(response)["metadata"] if each == name]


def failure(error: pytest.ExceptionInfo[Any]) -> tuple[grpc.StatusCode, str]:
    return error.value.code(), error.value.details()


def test_calls_go_where_the_rules_send_them(service: Ruled, caller: Caller) -> None:
    service.rules("""
    - match: [{uri: {exact: /shop.Books/Many}}]
      route: [{destination: {host: books.mesh, subset: v2}}]
    - match: [{headers: {x-user: {exact: ann}}}]
      route: [{destination: {host: books.mesh, subset: v3}}]
    - route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    assert version(caller.one(b"")) == "v1"
    assert version(caller.one(b"", metadata=[("x-user", "ann")])) == "v3"
    assert caller.many(b"") == [b"v2-0", b"v2-1", b"v2-2"]
    assert caller.sum([b"a", b"b"]) == b"v1: a,b"
    assert caller.talk([b"a", b"b"]) == [b"v1: a", b"v1: b"]


def test_shares_are_within_one_percent(service: Ruled) -> None:
    service.rules("""
    - route:
      - {destination: {host: books.mesh, subset: v1}, weight: 80}
      - {destination: {host: books.mesh, subset: v3}, weight: 20}
    """)
    caller = Sync(service.mesh, TARGET)
    seen = Counter(version(caller.one(b"")) for _ in range(300))
    assert abs(seen["v1"] - 240) <= 3
    assert seen["v1"] + seen["v3"] == 300


def test_baggage_of_the_context_routes_and_travels(service: Ruled, caller: Caller) -> None:
    service.rules("""
    - match: [{headers: {baggage: {exact: env=dev}}}]
      route: [{destination: {host: books.mesh, subset: v2}}]
    - route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    assert version(caller.one(b"")) == "v1"
    token = attach(metainfo.with_persistent("user", "ann", otel.set_baggage("env", "dev")))
    try:
        response = caller.one(b"")
        own = caller.one(b"", metadata=[("baggage", "user=7"), ("k-bin", b"\0\1")])
    finally:
        detach(token)
    assert version(response) == "v2"
    assert metadata(response, "baggage") == ["env=dev"]
    assert metadata(response, "rpc-transit-baggage") == ["env=dev"]
    assert metadata(response, "rpc-persist-user") == ["ann"]
    assert metadata(own, "baggage") == ["user=7,env=dev"]
    assert metadata(own, "k-bin") == ["0001"]


def test_metadata_changes_as_the_route_says(service: Ruled, caller: Caller) -> None:
    service.rules("""
    - headers:
        request: {set: {x-a: changed}, remove: [x-c]}
        response: {set: {x-version: hidden}, add: {x-d: added}}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    sent = [("x-a", "1"), ("x-c", "1")]
    response, received = caller.one_with_metadata(b"", metadata=sent)
    assert (metadata(response, "x-a"), metadata(response, "x-c")) == (["changed"], [])
    assert (received["x-version"], received["x-d"]) == ("hidden", "added")


def test_the_servers_see_the_authority_of_the_target(service: Ruled, caller: Caller) -> None:
    service.rules(TO_V1)
    assert caller.one_with_metadata(b"")[1]["x-version"] == "v1"


def test_a_failure_that_is_an_answer_is_given_as_it_is(service: Ruled, caller: Caller) -> None:
    service.rules(RETRIED)
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"fail NOT_FOUND v1,v2,v3")
    code, details = failure(error)
    assert (code, details[2:]) == (grpc.StatusCode.NOT_FOUND, " fails")


def test_unavailable_endpoints_are_left_for_another(service: Ruled, caller: Caller) -> None:
    service.rules(RETRIED)
    request = b"fail UNAVAILABLE v1,v2"
    for _ in range(6):
        assert version(caller.one(request)) == "v3"
        assert caller.many(request) == [b"v3-0", b"v3-1", b"v3-2"]
        assert caller.sum([request, b"b"]) == b"v3: fail UNAVAILABLE v1,v2,b"
        assert caller.talk([request, b"b"]) == [b"v3: fail UNAVAILABLE v1,v2", b"v3: b"]


def test_a_stream_that_answered_is_not_begun_again(
    service: Ruled, caller: Caller, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - retries: {attempts: 5, retryOn: unavailable}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].calls.copy()
    with pytest.raises(grpc.RpcError) as error:
        caller.many(b"later UNAVAILABLE")
    assert failure(error) == (grpc.StatusCode.UNAVAILABLE, "v1 fails later")
    with pytest.raises(grpc.RpcError):
        caller.talk([b"later UNAVAILABLE"])
    assert servers["v1"].calls["Many"] - before.get("Many", 0) == 1
    assert servers["v1"].calls["Talk"] - before.get("Talk", 0) == 1


def test_without_a_policy_nothing_that_arrived_is_sent_again(
    service: Ruled, caller: Caller, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - retries: {attempts: 0}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].calls.get("One", 0)
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"fail UNAVAILABLE v1")
    assert failure(error) == (grpc.StatusCode.UNAVAILABLE, "v1 fails")
    assert servers["v1"].calls["One"] - before == 1


def test_a_dead_endpoint_costs_no_call(service: Ruled, caller: Caller) -> None:
    service.rules(TO_ALL)
    for _ in range(8):
        assert version(caller.one(b"")) in VERSIONS


def test_a_routes_timeout_ends_a_slow_call(service: Ruled, caller: Caller) -> None:
    service.rules("""
    - timeout: 0.3s
      retries: {attempts: 0}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"slow")
    assert failure(error)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < SLOW_S / 2


@pytest.mark.parametrize("timeout", ["{}", "{timeout: 10s}"])
def test_the_callers_smaller_timeout_holds(service: Ruled, caller: Caller, timeout: str) -> None:
    service.rules(f"""
    - <<: {timeout}
      route: [{{destination: {{host: books.mesh, subset: v1}}}}]
    """)
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"slow", timeout=0.3)
    assert failure(error)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < SLOW_S / 2


def test_a_slow_attempt_is_followed_by_another(
    service: Ruled, caller: Caller, servers: dict[str, Versioned]
) -> None:
    service.rules("""
    - timeout: 3s
      retries: {attempts: 1, perTryTimeout: 0.2s, retryOn: deadline-exceeded}
      route: [{destination: {host: books.mesh, subset: v1}}]
    """)
    before = servers["v1"].calls.get("One", 0)
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"slow")
    assert failure(error)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert servers["v1"].calls["One"] - before == 2


def test_a_call_without_a_route_is_unavailable_and_says_why(service: Ruled, caller: Caller) -> None:
    service.rules("""
    - match: [{uri: {prefix: /only}}]
      route: [{destination: {host: books.mesh}}]
    """)
    calls: list[Callable[[], object]] = [
        lambda: caller.one(b""),
        lambda: caller.many(b""),
        lambda: caller.sum([b"a"]),
        lambda: caller.talk([b"a"]),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as error:
            call()
        code, details = failure(error)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "route" in details


def test_a_call_that_waits_for_ready_waits_for_its_endpoint(
    service: Ruled, caller: Caller, ports: dict[str, int]
) -> None:
    service.rules("- route: [{destination: {host: books.mesh, subset: dead}}]")
    with pytest.raises(grpc.RpcError) as error:
        caller.one(b"")
    assert failure(error)[0] is grpc.StatusCode.UNAVAILABLE
    began = time.monotonic()
    with pytest.raises(grpc.RpcError):
        caller.one(b"", wait_for_ready=True, timeout=0.5)
    assert 0.3 < time.monotonic() - began < 1.5


def test_a_call_has_a_span(service: Ruled, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    service.rules(TO_V1)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    response = caller.one(b"")
    caller.many(b"")
    with pytest.raises(grpc.RpcError):
        caller.one(b"fail NOT_FOUND v1")
    for _ in range(100):  # a stream's span ends with the stream, which its reader need not see
        if len(exporter.get_finished_spans()) == 3:
            break
        time.sleep(0.01)
    one, many, failed = exporter.get_finished_spans()
    assert (one.name, many.name) == ("shop.Books/One", "shop.Books/Many")
    assert one.context is not None
    assert metadata(response, "traceparent")[0].split("-")[2] == trace.format_span_id(
        one.context.span_id
    )
    said = dict(one.attributes or {})
    assert (said["rpc.system"], said["rpc.grpc.status_code"]) == ("grpc", 0)
    assert said["meltemi.cluster"] == "outbound|9080|v1|books.mesh"
    assert dict(failed.attributes or {})["rpc.grpc.status_code"] == 5

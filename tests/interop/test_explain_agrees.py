"""What `explain` says and where the engine sends a real request are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apache
import dubbo_wire
import pytest
from engine_of import engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meltemi.analysis.explain import Question, explain
from meltemi.model import (
    Destination,
    DestinationRule,
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    MetaRoute,
    MetaRouter,
    Service,
    ServicePort,
    StringMatch,
    Subset,
    WeightedDestination,
    Workload,
)
from thrift.Thrift import TApplicationException
from thrift_servers import dubbo_servers, thrift_servers, version_in, wait_for

FreePort = Callable[[], int]
NAMESPACE = "shop"
HOST = "hello.shop.svc.cluster.local"
VERSIONS = ("v1", "v2")
METHODS = ("sayHello", "wait")
VALUES = ("", "a", "ab", "gray", "say", "sayHello", "wait")

VALUE = st.sampled_from(VALUES)
CONDITION = st.one_of(
    VALUE.filter(bool).map(lambda value: StringMatch("exact", value)),
    VALUE.filter(bool).map(lambda value: StringMatch("prefix", value)),
    st.sampled_from(["a.*", "gray|wait", "say", ".+", "(s|w)a.*"]).map(
        lambda value: StringMatch("regex", value)
    ),
    st.just(StringMatch("present")),
)
SUBSET = st.sampled_from(["", "v1", "v2", "empty", "unknown"])
DESTINATIONS = st.one_of(
    SUBSET.map(lambda subset: ((subset, 0),)),
    st.tuples(SUBSET, SUBSET, st.integers(0, 100)).map(
        lambda drawn: ((drawn[0], drawn[2]), (drawn[1], 100 - drawn[2]))
    ),
)
ROUTES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["method", "lane", "user"]), CONDITION, max_size=3),
        DESTINATIONS,
    ),
    max_size=12,
)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {"method": st.sampled_from(METHODS)}, optional={"lane": VALUE, "user": VALUE}
    ),
    min_size=8,
    max_size=24,
)

Send = Callable[[dict[str, str]], str]
"""Calls with these attributes; the version that answered, or "" for an error from the engine."""
Drawn = list[tuple[dict[str, StringMatch], tuple[tuple[str, int], ...]]]


def mesh(protocol: str, port: int, servers: dict[str, int], drawn: Drawn) -> Mesh:
    """HOST at 127.0.0.1:port for the client, with the rule that was drawn."""
    endpoints = tuple(
        Endpoint("127.0.0.1", at, (("version", version),)) for version, at in servers.items()
    )
    service = Service(
        HOST,
        NAMESPACE,
        "hello",
        (ServicePort(port, f"tcp-metaprotocol-{protocol}", protocol, 0),),
        endpoints=((port, endpoints),),
    )
    subsets = tuple(Subset(name, (("version", name),)) for name in (*VERSIONS, "empty"))
    routes = tuple(
        MetaRoute(
            f"route-{n}",
            tuple(conditions.items()),
            tuple(
                WeightedDestination(Destination(HOST, subset), weight) for subset, weight in split
            ),
        )
        for n, (conditions, split) in enumerate(drawn)
    )
    instance = Instance(0, "127.0.0.3", "127.0.0.4", ((HOST, "127.0.0.1"),))
    return Mesh(
        services={HOST: service},
        destination_rules=(DestinationRule(NAMESPACE, "hello", HOST, subsets=subsets),),
        meta_routers=(MetaRouter(NAMESPACE, "rule", HOST, routes),),
        workloads=(Workload(NAMESPACE, "client", mode=MeshMode.SIDECAR, instances=(instance,)),),
    )


@contextlib.contextmanager
def thrift(port: int) -> Iterator[Send]:
    """Attributes are headers of THeader."""

    def send(attributes: dict[str, str]) -> str:
        client.protocol.trans.clear_headers()
        for name in ("lane", "user"):
            if name in attributes:
                client.protocol.trans.set_header(name.encode(), attributes[name].encode())
        try:
            if attributes["method"] == "wait":
                return version_in(client.wait("x", 0))
            return version_in(client.sayHello("x"))
        except TApplicationException:
            return ""

    with closing(apache.Client("header", "127.0.0.1", port)) as client:
        yield send


@contextlib.contextmanager
def dubbo(port: int) -> Iterator[Send]:
    """Attributes are attachments."""

    def send(attributes: dict[str, str]) -> str:
        method = attributes["method"]
        arguments = ("x", 0) if method == "wait" else ("x",)
        attachments = {name: value for name, value in attributes.items() if name != "method"}
        request = dubbo_wire.Request("hello.HelloService", method, arguments, attachments)
        reply = consumer.call(request)
        return "" if reply.failed else version_in(str(reply.value))

    with closing(dubbo_wire.Consumer("127.0.0.1", port)) as consumer:
        yield send


CALLERS = {"thrift": thrift, "dubbo": dubbo}


def expected(answer: dict[str, Any], servers: dict[str, int]) -> set[str]:
    """The versions that `explain` allows; "" is an error."""
    alone = len(answer["clusters"]) == 1
    clusters = [each for each in answer["clusters"] if each["weight"] or alone]
    by_address = {f"127.0.0.1:{at}": version for version, at in servers.items()}
    found = {by_address[e["address"]] for each in clusters for e in each["endpoints"]}
    if not clusters or any(each["problem"] for each in clusters):
        found.add("")
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("protocol", CALLERS)
def test_explain_and_the_engine_agree(protocol: str, free_port: FreePort, tmp_path: Path) -> None:
    servers = {version: free_port() for version in VERSIONS}

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(drawn=ROUTES, requests=REQUESTS)
    def agree(drawn: Drawn, requests: list[dict[str, str]]) -> None:
        port = free_port()
        one = mesh(protocol, port, servers, drawn)
        with engine(one, one.workloads[0]):
            wait_for("127.0.0.1", port)
            with CALLERS[protocol](port) as send:
                for attributes in requests:
                    question = Question(HOST, caller="client.shop", attributes=attributes)
                    allowed = expected(explain(one, question), servers)
                    assert send(attributes) in allowed, (attributes, allowed)

    with contextlib.ExitStack() as stack:
        if protocol == "dubbo":
            stack.enter_context(dubbo_servers(servers, tmp_path))
        else:
            libraries = dict.fromkeys(servers, "apache")
            stack.enter_context(thrift_servers(servers, libraries, "header", tmp_path))
        agree()

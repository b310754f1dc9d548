"""A local rate limit in the listeners that enforce it, as Aeraki writes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import (
    LimitCondition,
    LocalRateLimit,
    Mesh,
    ServicePort,
    StringMatch,
    TokenBucket,
    Workload,
)
from meltemi.translate import Translator
from meltemi.translate.limits import configuration
from meltemi.xds import messages
from meltemi.xds.resource import Client
from sample_mesh import (
    CLIENT,
    HOST,
    SERVERS,
    endpoint,
    mesh,
    network_filter,
    node,
    resources,
    route,
    router,
    service,
    workload,
)

SECOND = 1_000_000_000
HELLO = (("method", StringMatch("exact", "sayHello")),)
LIMIT = LocalRateLimit(
    (LimitCondition(HELLO, TokenBucket(2, 2, 30 * SECOND)),), TokenBucket(5, 1, 60 * SECOND)
)
OUTBOUND = dataclasses.replace(LIMIT, inbound=False, outbound=True)
BOTH = dataclasses.replace(LIMIT, outbound=True)
ROUTER = {"name": "aeraki.meta_protocol.filters.router"}
AS_AERAKI = {
    "name": "aeraki.meta_protocol.filters.local_ratelimit",
    "config": {
        "@type": "type.googleapis.com/"
        "aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit",
        "stat_prefix": HOST,
        "token_bucket": {"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s"},
        "conditions": [
            {
                "match": {"metadata": [{"name": "method", "exact_match": "sayHello"}]},
                "token_bucket": {"max_tokens": 2, "tokens_per_fill": 2, "fill_interval": "30s"},
            }
        ],
    },
}


def filters(of: Mesh, to: Workload, name: str) -> list[dict[str, Any]]:
    listener = resources(of, node(to))["Listener"][name]
    found: list[dict[str, Any]] = network_filter(listener)["typed_config"]["value"][
        "meta_protocol_filters"
    ]
    return found


def inbound(of: Mesh, server: Workload = SERVERS[0]) -> list[dict[str, Any]]:
    return filters(of, server, f"{server.instances[0].address}_9090")


def outbound(of: Mesh) -> list[dict[str, Any]]:
    return filters(of, CLIENT, "127.9.3.1_9090")


def test_the_sidecars_of_the_service_limit_where_nothing_else_is_said() -> None:
    limited = mesh(router(local_rate_limit=LIMIT))
    for server in SERVERS:
        assert inbound(limited, server) == [AS_AERAKI, ROUTER]
    assert outbound(limited) == [ROUTER]


def test_the_sidecars_of_the_callers_limit_where_the_rule_says_so() -> None:
    assert inbound(mesh(router(local_rate_limit=OUTBOUND))) == [ROUTER]
    assert outbound(mesh(router(local_rate_limit=OUTBOUND))) == [AS_AERAKI, ROUTER]
    assert inbound(mesh(router(local_rate_limit=BOTH))) == [AS_AERAKI, ROUTER]
    assert outbound(mesh(router(local_rate_limit=BOTH))) == [AS_AERAKI, ROUTER]


def test_a_limit_is_for_namespaces_that_the_rule_is_exported_to() -> None:
    assert inbound(mesh(router(local_rate_limit=BOTH, export_to=("other",)))) == [ROUTER]
    assert inbound(mesh(router(local_rate_limit=BOTH, export_to=("meta-thrift",)))) != [ROUTER]


def test_a_host_port_has_the_same_limit_as_the_port() -> None:
    port = dataclasses.replace(SERVERS[0].ports[0], host_port=9999)
    server = dataclasses.replace(SERVERS[0], ports=(port,))
    limited = mesh(server, CLIENT, router(local_rate_limit=LIMIT))
    assert filters(limited, server, "127.0.0.1_9999") == [AS_AERAKI, ROUTER]


def test_a_port_of_two_services_has_the_limits_of_both() -> None:
    other = "z.meta-thrift.svc.cluster.local"
    limited = mesh(
        service(),
        service(other),
        router(local_rate_limit=LIMIT),
        router(name="z", host=other, local_rate_limit=LIMIT),
    )
    made = inbound(limited)
    assert [one.get("config", {}).get("stat_prefix") for one in made] == [HOST, other, None]


def test_two_dubbo_interfaces_on_one_port_are_limited_each_by_itself() -> None:
    port = ServicePort(20880, "tcp-metaprotocol-dubbo", "dubbo", 20880)
    provider = workload(
        "provider", 7, ports=(dataclasses.replace(SERVERS[0].ports[0], port=20880),)
    )
    behind = ((20880, (endpoint(provider, 20880),)),)
    services = [
        service(f"org.{name}", ports=(port,), endpoints=behind, interface=f"org.{name.title()}")
        for name in ("first", "second")
    ]
    rule = router(host="org.first", local_rate_limit=LIMIT)
    shared = mesh(*services, rule, provider)
    limit, _ = filters(shared, provider, "127.9.1.7_20880")
    only = {"name": "interface", "exact_match": "org.First"}
    hello = {"name": "method", "exact_match": "sayHello"}
    assert "token_bucket" not in limit["config"]
    assert [
        (one["match"]["metadata"], one["token_bucket"]["max_tokens"])
        for one in limit["config"]["conditions"]
    ] == [([only, hello], 2), ([only], 5)]
    alone = mesh(services[0], rule, provider)
    limit, _ = filters(alone, provider, "127.9.1.7_20880")
    assert limit["config"]["token_bucket"]["max_tokens"] == 5


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (1, "0.000000001s"),
        (1_500, "0.000001500s"),
        (20_000_000, "0.020s"),
        (1_500_000_000, "1.500s"),
        (3600 * SECOND, "3600s"),
    ],
)
def test_an_interval_is_written_as_protobuf_reads_it(nanoseconds: int, text: str) -> None:
    limit = LocalRateLimit((), TokenBucket(1, 1, nanoseconds))
    made = configuration(HOST, limit)
    assert made["token_bucket"]["fill_interval"] == text
    name = "aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit"
    message = messages.from_json(name, made)
    assert message.token_bucket.fill_interval.ToNanoseconds() == nanoseconds


def test_an_edit_of_the_routes_leaves_the_limiting_listener_as_it_is() -> None:
    translator = Translator()
    of = node(SERVERS[0], Client.SIDECAR)

    def listeners(*routes: Any, limit: LocalRateLimit = LIMIT) -> Any:
        made = mesh(router(*routes, local_rate_limit=limit))
        return translator.resources(made, of)[messages.LISTENER]

    first = listeners(route("a", ("v1", 100)))
    assert listeners(route("b", ("v2", 100))) is first
    assert listeners(route("b", ("v2", 100)), limit=BOTH) is not first


def test_a_stock_envoy_cannot_limit_and_says_so() -> None:
    limited = mesh(router(local_rate_limit=BOTH))
    for of, name in ((CLIENT, "127.9.3.1_9090"), (SERVERS[0], "127.9.1.1_9090")):
        listener = resources(limited, node(of, Client.ENVOY))["Listener"][name]
        told = listener["metadata"]["filter_metadata"]["meltemi"]["left_out"]
        assert told == ["localRateLimit: Envoy's Thrift proxy has no local rate limit"]

"""What the engine says of expressions, routes and bytes, without running."""

from __future__ import annotations

import pytest
from engine_mesh import address, call, route_configuration, to
from meltemi import engine
from meltemi.xds import messages


def test_a_valid_expression_is_taken_without_a_word() -> None:
    assert engine.check_regex("say(Hello|Bye)") is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "unclosed group"),
        ("a)(b", "unopened group"),
        ("(a{1000}){1000}", "larger than 1048576 bytes"),
        ("(?=a)", "look-around"),
        ("a" * 5000, "5000 bytes"),
    ],
)
def test_an_expression_that_the_engine_does_not_take_raises_with_the_reason(
    pattern: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        engine.check_regex(pattern)


def test_an_explanation_says_why_each_earlier_route_did_not_match() -> None:
    changes = {
        "request_headers_to_add": [{"header": {"key": "a", "value": "b"}}],
        "response_headers_to_remove": ["c"],
    }
    table = messages.serialize(
        route_configuration(to("v1", "sayHello", "v1"), to("v2", name="all") | changes)
    )
    explained = engine.explain_route(table, {"METHOD": "sayBye"})
    assert explained == [
        {
            "name": "v1",
            "matched": False,
            "reasons": ['method is "sayBye": method exact "sayHello" does not hold'],
            "clusters": [{"name": "v1", "weight": 1}],
            "request_mutation": [],
            "response_mutation": [],
            "hash_policy": [],
            "hash": None,
        },
        {
            "name": "all",
            "matched": True,
            "reasons": [],
            "clusters": [{"name": "v2", "weight": 1}],
            "request_mutation": [{"key": "a", "value": "b"}],
            "response_mutation": [{"key": "c", "remove": True}],
            "hash_policy": [],
            "hash": None,
        },
    ]
    assert engine.explain_route(table, {})[0]["reasons"] == [
        'method is missing: method exact "sayHello" does not hold'
    ]
    assert [each["name"] for each in engine.explain_route(table, {"method": "sayHello"})] == ["v1"]


def test_a_configuration_that_the_engine_refuses_cannot_be_explained() -> None:
    broken = messages.serialize(route_configuration({"match": {"path": "/x"}, "route": {}}))
    with pytest.raises(ValueError, match=r"routes\[0\]\.match\.path"):
        engine.explain_route(broken, {})
    with pytest.raises(ValueError, match="not a valid"):
        engine.explain_route(b"\xff", {})


def test_an_explanation_says_what_is_hashed_and_the_hash_of_the_request() -> None:
    hashed = to("a")
    hashed["route"]["hash_policy"] = [
        {"header": {"header_name": "Method"}},
        {"connection_properties": {"source_ip": True}},
    ]
    table = messages.serialize(route_configuration(hashed))
    [nothing] = engine.explain_route(table, {})
    assert nothing["hash_policy"] == ["attribute method", "address of the caller"]
    assert nothing["hash"] is None
    hashes = {
        engine.explain_route(table, {"METHOD": method}, caller)[0]["hash"]
        for method in ("a", "b")
        for caller in (None, "127.0.0.1", "127.0.0.2")
    }
    assert len(hashes - {None}) == 6
    with pytest.raises(ValueError, match="not an IP address"):
        engine.explain_route(table, {}, "localhost")


def test_the_endpoint_of_a_hash_is_explained_only_where_the_cluster_goes_by_it() -> None:
    endpoints = [{"endpoint": {"address": address(port)}} for port in (7001, 7002, 7003)]
    assignment = {"cluster_name": "s", "endpoints": [{"lb_endpoints": endpoints}]}
    load = messages.serialize(
        messages.from_json("envoy.config.endpoint.v3.ClusterLoadAssignment", assignment)
    )

    def explained(value: int, **policy: object) -> str | None:
        described = {"name": "a", "type": "EDS", "eds_cluster_config": {"service_name": "s"}}
        cluster = messages.from_json("envoy.config.cluster.v3.Cluster", described | policy)
        return engine.explain_endpoint("a", messages.serialize(cluster), "s", load, value)

    chosen = {explained(value << 56, lb_policy="RING_HASH") for value in range(256)}
    assert chosen == {f"127.0.0.1:{port}" for port in (7001, 7002, 7003)}
    assert explained(1, lb_policy="RANDOM") is None
    config = {"table_size": 4}
    with pytest.raises(ValueError, match=r"maglev_lb_config\.table_size: 4"):
        explained(1, lb_policy="MAGLEV", maglev_lb_config=config)


@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_messages_are_the_same_however_the_bytes_come(chunk: int) -> None:
    data = call("sayHello", 7) + call("sayBye", 8) + call("cut", 9)[:-3]
    decoded = engine.decode_messages("thrift", "request", data, chunk)
    seen = [(each["kind"], each["id"], each["attributes"]) for each in decoded]
    assert seen == [
        ("request", 7, {"method": b"sayHello"}),
        ("request", 8, {"method": b"sayBye"}),
    ]
    assert decoded[0]["length"] == len(call("sayHello", 7))


def test_what_is_no_message_raises_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        engine.decode_messages("thrift", "request", b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ValueError, match="no protocol called"):
        engine.decode_messages("smtp", "request", b"")
    with pytest.raises(ValueError, match="is no direction"):
        engine.decode_messages("thrift", "sideways", b"")

"""What `explain_route` says is what happens: the endpoint that it names answers the request."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from engine_mesh import Mesh, call, called, read_frame, route_configuration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meltemi import engine
from meltemi.xds import messages

CLUSTERS = ("one", "two", "three")

Request = tuple[str, dict[str, str]]
"""The name that is called on the wire, and the attributes that it makes."""

text = st.text("abA", max_size=3)


def _header(name: str, kind: str, value: str, invert: bool) -> dict[str, Any]:
    matcher: dict[str, Any] = {f"{kind}_match": value}
    if kind == "present":
        matcher = {"present_match": True}
    if kind == "safe_regex":
        matcher = {"safe_regex_match": {"regex": f"{value}.?"}}
    return {"name": name, "invert_match": invert, **matcher}


def _route(headers: list[dict[str, Any]], cluster: str) -> dict[str, Any]:
    return {"match": {"prefix": "/", "headers": headers}, "route": {"cluster": cluster}}


def _multiplexed(service: str, method: str) -> Request:
    return f"{service}:{method}", {"service": service, "method": method}


headers = st.builds(
    _header,
    st.sampled_from(["method", "Method", "service", "missing"]),
    st.sampled_from(["exact", "prefix", "suffix", "contains", "safe_regex", "present"]),
    text,
    st.booleans(),
)
routes = st.builds(_route, st.lists(headers, max_size=3), st.sampled_from(CLUSTERS))
requests = st.builds(_multiplexed, text, text) | text.map(lambda name: (name, {"method": name}))


def expected(table: bytes, attributes: dict[str, str]) -> str | None:
    """The cluster that the explanation names."""
    *_, last = [None, *engine.explain_route(table, attributes)]
    if last is None or not last["matched"]:
        return None
    clusters = last["clusters"]
    assert isinstance(clusters, list)
    return str(clusters[0]["name"])


def test_the_explained_cluster_answers(mesh: Mesh, serve: Callable[[str], int]) -> None:
    for name in CLUSTERS:
        mesh.cluster(name, serve(f"from {name}"))
    mesh.routes()
    mesh.engine.stats()
    reached: set[str | None] = set()

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(table=st.lists(routes, max_size=12), asked=st.lists(requests, min_size=1, max_size=6))
    def agrees(table: list[dict[str, Any]], asked: list[Request]) -> None:
        configuration = route_configuration(*table)
        mesh.accept("routes", configuration)
        # A report comes through the same queue as the tables: behind it they are in force.
        mesh.engine.stats()
        for seqid, (name, attributes) in enumerate(asked):
            cluster = expected(messages.serialize(configuration), attributes)
            reached.add(cluster)
            assert_answered_by(cluster, connection, name, seqid)

    with mesh.connect() as connection:
        agrees()
    assert reached == {*CLUSTERS, None}, "the examples reach every cluster, and none"


def assert_answered_by(
    cluster: str | None, connection: socket.socket, name: str, seqid: int
) -> None:
    connection.sendall(call(name, seqid))
    frame = read_frame(connection)
    _, kind, answered = called(frame)
    assert answered == seqid
    if cluster is None:
        assert kind == 3, frame
    else:
        assert kind == 2, frame
        assert f"from {cluster}".encode() in frame

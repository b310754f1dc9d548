"""A local rate limit in a running mesh, the same for every protocol."""

from __future__ import annotations

from typing import Any

import hello_mesh
import pytest
from hello_mesh import HOST, route, router
from mesh import Mesh, eventually
from protocols import Connection, Problem, Wire

SERVERS = [f"hello-server-{version}.{hello_mesh.NAMESPACE}" for version in ("v1", "v2")]


def limit(
    *routes: dict[str, Any], default: int | None = None, side: str = "inbound", **methods: int
) -> dict[str, Any]:
    """A rule with a bucket for each method, which is not filled while the test runs."""
    made = router(*routes)
    made["metadata"]["annotations"] = {"meltemi.io/local-rate-limit-side": side}
    given: dict[str, Any] = {
        "conditions": [
            {"match": {"attributes": {"method": {"exact": method}}}, "tokenBucket": bucket(tokens)}
            for method, tokens in methods.items()
        ]
    }
    if default is not None:
        given["tokenBucket"] = bucket(default)
    made["spec"]["localRateLimit"] = given
    return made


def bucket(tokens: int) -> dict[str, Any]:
    return {"maxTokens": tokens, "tokensPerFill": tokens, "fillInterval": "1h"}


def apply(mesh: Mesh, rule: dict[str, Any]) -> None:
    """In force when it returns: a sidecar's workers report their numbers between two turns."""
    assert "warning" not in mesh.apply(rule).err
    for workload in (*SERVERS, hello_mesh.CLIENT):
        mesh.sidecar(workload, "/stats").raise_for_status()


def passed(connection: Connection, calls: int = 10) -> int:
    """How many calls were served; the others were told why not."""
    served = 0
    for _ in range(calls):
        try:
            connection.hello("x")
        except Problem as problem:
            assert f"local rate limit of '{HOST}' reached: " in problem.message
        else:
            served += 1
    return served


def counted(mesh: Mesh, workload: str) -> dict[str, int]:
    lines = mesh.sidecar(workload, "/stats").text.splitlines()
    prefix = f"meta_protocol.{HOST}.local_rate_limit."
    return {
        name.removeprefix(prefix): int(value)
        for name, _, value in (line.partition(": ") for line in lines)
        if name.startswith(prefix)
    }


def test_exactly_two_of_ten_calls_reach_a_replica_that_takes_two(
    clean: Mesh, connection: Connection
) -> None:
    """Aeraki's TestLocalRateLimit: a bucket of 5, and one of 2 for the method."""
    before = counted(clean, SERVERS[0])
    apply(clean, limit(route("v1", {"v1": 100}), default=5, sayHello=2))
    assert passed(connection) == 2
    after = counted(clean, SERVERS[0])
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown == {"ok": 2, "rate_limited": 8}
    name = f"{SERVERS[0].replace('.', '-0.', 1)}.sidecar"
    eventually(lambda: clean.log(name).count(" RL rate_limited ") >= 8)


def test_a_limit_that_is_used_up_stays_so_while_other_things_change(
    clean: Mesh, connection: Connection
) -> None:
    apply(clean, limit(route("a", {"v1": 100}), sayHello=3))
    assert passed(connection) == 3
    for changed in (
        limit(route("b", {"v1": 100}), sayHello=3),
        limit(route("b", {"v1": 100}), sayHello=3, other=1),
    ):
        apply(clean, changed)
        assert passed(connection) == 0


def test_another_limit_holds_for_the_next_call_of_an_open_connection(
    clean: Mesh, connection: Connection
) -> None:
    for tokens in (4, 1):
        apply(clean, limit(route("v2", {"v2": 100}), default=tokens))
        assert passed(connection) == tokens
    apply(clean, router(route("v2", {"v2": 100})))
    assert passed(connection) == 10


@pytest.mark.parametrize(("side", "served"), [("inbound", 6), ("outbound", 3), ("both", 3)])
def test_replicas_and_callers_limit_each_for_itself(
    clean: Mesh, protocol: Wire, side: str, served: int
) -> None:
    apply(clean, limit(default=3, side=side))
    with protocol.connect(clean) as first, protocol.connect(clean) as second:
        assert passed(first, 6) + passed(second, 6) == served


def test_explain_says_what_a_call_will_meet(clean: Mesh) -> None:
    apply(clean, limit(route("v1", {"v1": 100}), default=5, sayHello=2))
    explain = ("explain", hello_mesh.SERVICE, "-n", hello_mesh.NAMESPACE, "--attr")
    said = clean.meltemi(*explain, "method=sayHello").out
    assert "at the workloads of" in said
    assert "\n  2 requests, and 2 more every 3600s\n" in said
    said = clean.meltemi(*explain, "method=other").out
    assert "\n  5 requests, and 5 more every 3600s from the default bucket\n" in said

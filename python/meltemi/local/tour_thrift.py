"""The tour of `examples/thrift`: one client connection whose requests move while it stays open."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from meltemi.local.tour import Tour

HOST = "thrift-sample-server.meta-thrift.svc.cluster.local"
CLIENT = "thrift-sample-client.meta-thrift"


class Caller:
    """One connection to the client's sidecar, held for the whole tour."""

    def __init__(self, directory: Path, host: str, port: int) -> None:
        import thriftpy2
        from thriftpy2.protocol import TBinaryProtocolFactory
        from thriftpy2.rpc import make_client
        from thriftpy2.transport import TFramedTransportFactory

        hello = thriftpy2.load(str(directory / "hello.thrift"), module_name="tour_thrift")
        self._client = make_client(
            hello.HelloService,
            host,
            port,
            proto_factory=TBinaryProtocolFactory(),
            trans_factory=TFramedTransportFactory(),
            timeout=10_000,
        )

    def version(self) -> str:
        """Calls `sayHello`; returns the version that answered: `v1` or `v2`."""
        reply = self._client.sayHello("Meltemi")
        pod = reply.rsplit("response from ", 1)[1].split("/")[0]
        return str(pod).rsplit("-", 2)[1]

    def count(self, requests: int) -> Counter[str]:
        return Counter(self.version() for _ in range(requests))

    def close(self) -> None:
        self._client.close()


def router(*shares: tuple[str, int]) -> str:
    """A MetaRouter that sends `sayHello` to subsets by weight; its rule is named after them."""
    import yaml

    return yaml.safe_dump(
        {
            "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
            "kind": "MetaRouter",
            "metadata": {"name": "hello", "namespace": "meta-thrift"},
            "spec": {
                "hosts": [HOST],
                "routes": [
                    {
                        "name": "-".join(f"{subset}-{weight}" for subset, weight in shares),
                        "match": {"attributes": {"method": {"exact": "sayHello"}}},
                        "route": [
                            {"destination": {"host": HOST, "subset": s}, "weight": weight}
                            for s, weight in shares
                        ],
                    }
                ],
            },
        },
        sort_keys=False,
    )


def prepare(example: Path, say: Callable[[str], None]) -> None:
    """Raises ModuleNotFoundError where the package is missing that the example runs."""
    import thriftpy2  # noqa: F401


def run(tour: Tour) -> None:
    """Raises StepFailed at the first step that does not hold."""
    environment = tour.environment("thrift-sample-client")
    host = environment["THRIFT_SAMPLE_SERVER_SERVICE_HOST"]
    port = int(environment["THRIFT_SAMPLE_SERVER_SERVICE_PORT"])
    caller = Caller(tour.directory, host, port)
    try:
        _in_turn(tour, caller)
        _all_to_v1(tour, caller)
        _split(tour, caller)
        _dumps(tour)
        _without_control_plane(tour, caller)
    finally:
        caller.close()


def _in_turn(tour: Tour, caller: Caller) -> None:
    tour.step("One client connection, each request balanced by itself")
    answers = [caller.version() for _ in range(20)]
    tour.show(" ".join(answers))
    in_turn = all(a != b for a, b in pairwise(answers))
    tour.check(in_turn, "20 requests over one connection: v1 and v2 answer in turn")


def _all_to_v1(tour: Tour, caller: Caller) -> None:
    tour.step("A MetaRouter sends sayHello to v1, live")
    rule = router(("v1", 100))
    tour.show(rule)
    tour.show(tour.meltemi("apply", "-f", "-", given=rule))
    took = tour.eventually(lambda: caller.count(2) == {"v1": 2}, "requests move to v1", 2)
    tour.check(True, f"in force {took * 1000:.0f} ms after `apply` returned")
    found = caller.count(200)
    tour.check(found == {"v1": 200}, f"200 requests, same connection: {_counts(found)}, 0 failed")


def _split(tour: Tour, caller: Caller) -> None:
    tour.step("A split: 20 % to v1, 80 % to v2")
    tour.show(tour.meltemi("apply", "-f", "-", given=router(("v1", 20), ("v2", 80))))
    tour.eventually(lambda: caller.count(10)["v2"] > 0, "requests move to v2", 2)
    found = caller.count(1000)
    within = abs(found["v1"] - 200) <= 10 and sum(found.values()) == 1000
    tour.check(within, f"1,000 requests: {_counts(found)}; within 1 % of 200 and 800")
    names = [r["name"] for r in _hello_routes(tour)["routes"]]
    tour.check("v1-20-v2-80" in names, "the route dump shows the rule by its own name: v1-20-v2-80")


def _dumps(tour: Tour) -> None:
    tour.step("What the client's sidecar holds")
    dump = json.loads(tour.meltemi("proxy", "config", CLIENT))
    filters = list(_named(dump, "envoy.filters.network.meta_protocol_proxy"))
    tour.show(json.dumps(filters[0] if filters else dump, indent=1))
    tour.check(
        any(
            f["typed_config"]["value"]["rds"]["route_config_name"] == f"{HOST}_9090"
            and f["typed_config"]["value"]["codec"]["name"] == "aeraki.meta_protocol.codec.thrift"
            for f in filters
        ),
        f"the listener reads Thrift and takes its routes from {HOST}_9090",
    )
    routes = _hello_routes(tour)
    tour.show(json.dumps(routes, indent=1))
    route = routes["routes"][0]
    weights = {c["name"]: c["weight"] for c in route["route"]["weighted_clusters"]["clusters"]}
    tour.check(
        route["match"]["metadata"][0]["exact_match"] == "sayHello"
        and weights == {f"outbound|9090|v1|{HOST}": 20, f"outbound|9090|v2|{HOST}": 80},
        "its route matches method sayHello and weighs v1 and v2 20 to 80",
    )


def _without_control_plane(tour: Tour, caller: Caller) -> None:
    tour.step("The control plane is killed; requests go on")
    pid = tour.control_plane_pid()
    assert pid is not None
    tour.say(f"   [cyan]$ kill -KILL {pid}[/cyan]")
    os.kill(pid, signal.SIGKILL)
    found = caller.count(500)
    tour.check(sum(found.values()) == 500, f"500 requests meanwhile: {_counts(found)}, 0 failed")
    back = tour.eventually(
        lambda: (
            tour.control_plane_pid() not in (None, pid)
            and bool(tour.environment("thrift-sample-client"))
        ),
        "the control plane is back",
        10,
    )
    tour.check(True, f"it is back {back:.1f} s later, as process {tour.control_plane_pid()}")
    tour.show(tour.meltemi("apply", "-f", "-", given=router(("v2", 100))))
    tour.eventually(lambda: caller.count(2) == {"v2": 2}, "a new rule takes effect", 10)
    found = caller.count(200)
    tour.check(
        found == {"v2": 200}, f"a new rule, still the same connection: {_counts(found)}, 0 failed"
    )


def _hello_routes(tour: Tour) -> dict[str, Any]:
    dump = json.loads(tour.meltemi("proxy", "routes", CLIENT))
    for entry in dump["dynamic_route_configs"]:
        if entry["route_config"]["name"] == f"{HOST}_9090":
            found = entry["route_config"]
            assert isinstance(found, dict)
            return found
    return {"routes": []}


def _named(found: Any, name: str) -> Any:
    """Every mapping in a JSON value whose `name` is this."""
    if isinstance(found, dict):
        if found.get("name") == name:
            yield found
        for value in found.values():
            yield from _named(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from _named(value, name)


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{version} {count}" for version, count in sorted(found.items()))

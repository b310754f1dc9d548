"""Lanes through sidecars: three services as real processes, by every wire that carries a mark."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import lane_calls
import lane_mesh
import pytest
from lane_calls import WIRES
from mesh import Mesh, eventually, running

pytestmark = pytest.mark.slow

CALLS = 12


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Of b there is no instance in the lane."""
    directory = tmp_path_factory.mktemp("lanes") / "shop"
    lane_mesh.write(
        directory,
        *map(lane_mesh.service, lane_mesh.HOPS),
        lane_mesh.workload("a", "base", "b"),
        lane_mesh.workload("a", "dev", "b"),
        lane_mesh.workload("b", "base", "c"),
        lane_mesh.workload("c", "base"),
        lane_mesh.workload("c", "dev"),
        lane_mesh.caller(),
        lane_mesh.lane("dev"),
    )
    with running(directory) as mesh:
        yield mesh


@pytest.fixture(autouse=True)
def permissive(shop: Mesh) -> None:
    shop.apply(lane_mesh.group(*lane_mesh.HOPS))
    eventually(lambda: ways(shop, "dubbo", "env=dev") == {"dev base dev"}, 30)


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ways(mesh: Mesh, wire: str, baggage: str = "", calls: int = CALLS) -> set[str]:
    """The lanes of all hops; an error is the way's end."""
    address = lane_mesh.address(mesh, "a")
    found = set()
    with lane_calls.Caller(wire, address) as caller:
        for _ in range(calls):
            try:
                found.add(caller.call(wire, baggage))
            except lane_calls.Failed as error:
                found.add(f"!{error}")
    return found


def test_the_mark_decides_at_every_hop_and_travels_on(shop: Mesh, wire: str) -> None:
    assert ways(shop, wire) == {"base base base"}
    assert ways(shop, wire, "env=dev") == {"dev base dev"}
    assert ways(shop, wire, "user=7;p , env = %64ev;q=1,z=") == {"dev base dev"}
    assert ways(shop, wire, "env=other,user=env=dev") == {"base base base"}


def lane_numbers(mesh: Mesh, replica: str) -> dict[str, int]:
    """By the metric with its labels: what the replica's sidecar counted for lane dev."""
    page = mesh.sidecar(replica, "/stats/prometheus").text
    lines = (line.rpartition(" ") for line in page.splitlines() if line.startswith("meltemi_lane"))
    return {name: int(value) for name, _, value in lines if 'lane="dev"' in name}


def test_a_sidecar_counts_who_answered_for_a_lane_and_that_nothing_leaked(
    shop: Mesh, wire: str
) -> None:
    """a calls b, which has no instance in the lane, and b calls c, which has one."""
    labels = 'lane="dev",service="{}.shop.svc.cluster.local"'
    for replica, service, who in (("a-dev", "b", "baseline"), ("b-base", "c", "lane")):
        of_service = labels.format(service)
        answered = f'meltemi_lane_requests_total{{{of_service},answered_by="{who}"}}'
        before = lane_numbers(shop, f"{replica}.shop").get(answered, 0)
        assert ways(shop, wire, "env=dev") == {"dev base dev"}
        after = lane_numbers(shop, f"{replica}.shop")
        assert after[answered] - before == CALLS
        assert after[f"meltemi_lane_leaks_total{{{of_service}}}"] == 0


def test_the_numbers_of_all_sidecars_are_shown_together(shop: Mesh) -> None:
    ways(shop, "dubbo", "env=dev")
    rows = json.loads(shop.meltemi("lanes", "status", "-o", "json").out)
    of_dev = {row["service"].partition(".")[0]: row for row in rows if row["lane"] == "dev"}
    assert of_dev.keys() == {"a", "b", "c"}
    assert of_dev["b"]["answered_by"]["baseline"] == of_dev["b"]["requests"] >= CALLS
    assert of_dev["c"]["answered_by"]["lane"] >= CALLS
    assert "shop.svc.cluster.local" in shop.meltemi("lanes", "status").out


def test_a_killed_instance_is_fallen_back_from_and_returned_to(shop: Mesh) -> None:
    """By wires in turn: a killed process is started again in a second or so."""
    process = shop.processes()["c-dev-0.shop"]
    sidecar = shop.processes()["c-dev-0.shop sidecar"]
    os.kill(sidecar["pid"], signal.SIGKILL)
    os.kill(process["pid"], signal.SIGKILL)
    seen: set[str] = set()
    began = time.monotonic()
    while time.monotonic() - began < 20:
        for each in WIRES:
            seen |= ways(shop, each, "env=dev", calls=1)
            assert ways(shop, each, calls=1) == {"base base base"}
        if "dev base base" in seen and time.monotonic() - began > 3:
            break
    assert "dev base base" in seen
    errors = {way for way in seen if "!" in way}
    assert seen - errors <= {"dev base base", "dev base dev"}
    assert all(way.startswith("dev base !") for way in errors), errors
    eventually(lambda: all(ways(shop, w, "env=dev") == {"dev base dev"} for w in WIRES), 60)


def test_a_strict_lane_is_refused_in_the_protocols_own_way_and_by_its_name(
    shop: Mesh, wire: str
) -> None:
    shop.apply(lane_mesh.group(*lane_mesh.HOPS, mode="strict"))
    (way,) = ways(shop, wire, "env=dev")
    assert way.startswith("dev !"), way
    assert "lane-dev" in way and "b.shop.svc.cluster.local" in way
    assert ways(shop, wire) == {"base base base"}

"""Who gets into a lane by saying so: strangers at a sidecar, and workloads that may not."""

from __future__ import annotations

from collections.abc import Iterator

import lane_calls
import lane_mesh
import pytest
from lane_calls import WIRES
from mesh import Mesh, eventually, running

pytestmark = pytest.mark.slow

EVERY_APP = [{"labels": {"app": app}} for app in ("caller", *lane_mesh.HOPS)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("marks") / "shop"
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


def limited(mesh: Mesh, **more: object) -> None:
    """The group says this from now on."""
    mesh.apply(lane_mesh.group(*lane_mesh.HOPS, **more))


def ways(address: str) -> set[str]:
    """By every wire, with the mark, from an address that is no workload's."""
    found = set()
    for wire in WIRES:
        with lane_calls.Caller(wire, address) as caller:
            for _ in range(4):
                found.add(caller.call(wire, "user=7,env=dev"))
    return found


def inside(mesh: Mesh) -> set[str]:
    """As the caller's application, through its own sidecar."""
    return ways(lane_mesh.address(mesh, "a"))


def from_outside(mesh: Mesh) -> set[str]:
    """As somebody who knows the address of an instance."""
    (instance,) = mesh.workloads()["a-base.shop"]["instances"]
    return ways(instance["address"])


def test_a_stranger_gets_into_no_lane_unless_its_network_is_trusted(shop: Mesh) -> None:
    limited(shop)
    eventually(lambda: inside(shop) == {"dev base dev"}, 30)
    assert from_outside(shop) == {"base base base"}
    limited(shop, edge={"trustedSources": ["127.0.0.1/32"]})
    eventually(lambda: from_outside(shop) == {"base base dev"}, 10)
    limited(shop)
    eventually(lambda: from_outside(shop) == {"base base base"}, 10)


def test_a_workload_that_may_not_mark_is_out_of_the_lane_from_there_on(shop: Mesh) -> None:
    limited(shop, marksFrom=EVERY_APP)
    eventually(lambda: inside(shop) == {"dev base dev"}, 30)
    limited(shop, marksFrom=[each for each in EVERY_APP if each["labels"]["app"] != "b"])
    eventually(lambda: inside(shop) == {"dev base base"}, 10)
    limited(shop, marksFrom=EVERY_APP[1:])
    eventually(lambda: inside(shop) == {"base base base"}, 10)
    limited(shop, marksFrom=EVERY_APP)
    eventually(lambda: inside(shop) == {"dev base dev"}, 10)

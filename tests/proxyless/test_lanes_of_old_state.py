"""Lanes while the control plane is away, and once it is back: a client's state may be old."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import control_plane_process
import pytest
from meltemi.proxyless import NoEndpointError
from meltemi.proxyless.mesh import Mesh
from mesh_fixtures import Connect, until

HOST, TARGET = "shop.mesh", "shop.mesh:9090"
ADDRESSES = {"dev": "127.0.0.21", "red": "127.0.0.22", "base": "127.0.0.23"}


def documents(*there: str, mode: str = "permissive") -> str:
    """A service with these instances; `dev` falls back to `red`, then to `base`."""
    endpoints = [
        {"address": ADDRESSES[lane], "labels": {} if lane == "base" else {"env": lane}}
        for lane in there
    ]
    entry: dict[str, Any] = {
        "hosts": [HOST],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 9090, "name": "grpc", "protocol": "GRPC"}],
        "endpoints": endpoints,
    }
    group = {"baggageKey": "env", "services": [{"host": HOST}], "fallback": ["red"], "mode": mode}
    made = [("networking.istio.io/v1", "ServiceEntry", "shop", entry)]
    made.append(("meltemi.io/v1alpha1", "LaneGroup", "group", group))
    made += [("meltemi.io/v1alpha1", "Lane", n, {"group": "group"}) for n in ("dev", "red")]
    return "---\n".join(
        json.dumps({"apiVersion": v, "kind": k, "metadata": {"name": n}, "spec": spec}) + "\n"
        for v, k, n, spec in made
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mesh"
    made.mkdir()
    (made / "mesh.yaml").write_text(documents("dev", "red", "base"))
    return made


@pytest.fixture
def ports(free_port: Callable[[], int]) -> tuple[int, int]:
    return free_port(), free_port()


def lane(mesh: Mesh, mark: str = "dev", *, reached: bool = True) -> str:
    """Of the instance that a call gets; `!`: none. `reached`: whether it could be reached."""
    headers = [("baggage", f"env={mark}")] if mark else []
    try:
        call = mesh.call(mesh.target(TARGET), "/shop.Shop/Get", headers)
    except NoEndpointError as error:
        assert f"lane-{mark}" in str(error)
        return "!"
    address = call.address.rpartition(":")[0]
    if reached:
        call.abandoned()
    else:
        call.failed("connect-failure")
    return next(name for name, each in ADDRESSES.items() if each == address)


def test_a_client_that_starts_from_the_file_knows_lanes_and_what_they_fall_back_to(
    folder: Path, ports: tuple[int, int], connect: Connect, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    with control_plane_process.running(folder, ports) as plane:
        before = connect(plane.xds, last_known=known)
        assert [lane(before), lane(before, "red"), lane(before, "")] == ["dev", "red", "base"]
        before.close()
        assert list(known.iterdir())
    mesh = connect(plane.xds, last_known=known)  # there is nobody to ask
    assert [lane(mesh), lane(mesh, "red"), lane(mesh, "")] == ["dev", "red", "base"]
    assert lane(mesh, reached=False) == "dev"
    assert {lane(mesh) for _ in range(20)} == {"red"}
    assert lane(mesh, reached=False) == "red"
    assert {lane(mesh) for _ in range(20)} == {"base"}
    until(lambda: lane(mesh) == "dev", within_s=20)


def test_a_control_plane_that_comes_back_changes_what_changed_meanwhile(
    folder: Path, ports: tuple[int, int], connect: Connect
) -> None:
    with control_plane_process.running(folder, ports) as first:
        mesh = connect(first.xds)
        assert lane(mesh) == "dev"
        first.kill()
        until(lambda: not mesh.status()["connected"])
        assert {lane(mesh) for _ in range(20)} == {"dev"}
    (folder / "mesh.yaml").write_text(documents("red", "base"))
    with control_plane_process.running(folder, ports) as second:
        until(lambda: lane(mesh) == "red", within_s=20)
        assert {lane(mesh) for _ in range(20)} == {"red"}
        second.kill()
        until(lambda: not mesh.status()["connected"])
    (folder / "mesh.yaml").write_text(documents("base", "red", mode="strict"))
    with control_plane_process.running(folder, ports):
        until(lambda: lane(mesh) == "!", within_s=20)
        assert [lane(mesh, "red"), lane(mesh, "")] == ["red", "base"]


def test_a_lane_that_goes_while_its_instance_is_put_out_leaves_nothing_behind(
    folder: Path, ports: tuple[int, int], connect: Connect
) -> None:
    with control_plane_process.running(folder, ports) as plane:
        mesh = connect(plane.xds)
        assert lane(mesh, reached=False) == "dev"
        assert lane(mesh) == "red"
        (folder / "mesh.yaml").write_text(documents("dev", "base"))
        until(lambda: lane(mesh) == "base")
        (folder / "mesh.yaml").write_text(documents("base"))
        until(lambda: lane(mesh, "red") == "base")
        assert lane(mesh) == "base"
        (folder / "mesh.yaml").write_text(documents("dev", "base"))
        until(lambda: lane(mesh) == "dev", within_s=20)

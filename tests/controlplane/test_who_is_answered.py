"""Tokens, loopback, web pages: who gets what from a control plane."""

from __future__ import annotations

import asyncio
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import httpx
import pytest
from control_plane_process import MESH, Listening, Running, listening, running
from meltemi.controlplane import ports
from meltemi.xds import discovery, messages

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


async def ask(address: str, node_id: str, token: str | None) -> tuple[grpc.StatusCode, str]:
    """What a stream of a node ends with; OK when it is answered with clusters."""
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    node = messages.message("envoy.config.core.v3.Node")(id=node_id)
    request = discovery.encode_sotw_request(discovery.SotwRequest(messages.CLUSTER), node)
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(ADS)(metadata=metadata)
        try:
            await call.write(request)
            answer = await asyncio.wait_for(call.read(), 5)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        assert isinstance(answer, bytes)
        assert discovery.decode_sotw_response(answer).resources
        return grpc.StatusCode.OK, ""


async def test_a_workloads_id_is_answered_only_with_its_own_token(control_plane: Running) -> None:
    caller, echo = control_plane.node_id("caller"), control_plane.node_id("echo-v1")
    own, others = control_plane.token(caller), control_plane.token(echo)
    assert (await ask(control_plane.xds, caller, own))[0] is grpc.StatusCode.OK
    code, reason = await ask(control_plane.xds, caller, others)
    assert (code, reason.endswith("the token is another id's")) == (
        grpc.StatusCode.PERMISSION_DENIED,
        True,
    )
    code, reason = await ask(control_plane.xds, caller, None)
    assert (code, reason.endswith("no token came with it")) == (
        grpc.StatusCode.UNAUTHENTICATED,
        True,
    )


PROXYLESS = """\
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: direct, labels: {app: direct}}
spec: {command: [python, client.py], mesh: proxyless}
"""


async def test_a_workload_without_a_sidecar_needs_no_token_but_no_wrong_one(
    control_plane: Running,
) -> None:
    assert control_plane.steer("POST", "/v1/apply", content=PROXYLESS).status_code == 200
    direct, caller = control_plane.node_id("direct"), control_plane.node_id("caller")
    for token in (None, control_plane.token(direct)):
        assert (await ask(control_plane.xds, direct, token))[0] is grpc.StatusCode.OK
    code, reason = await ask(control_plane.xds, direct, control_plane.token(caller))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert reason.endswith("the token is another id's")


@pytest.mark.parametrize(
    "disguise",
    [
        "router~127.9.9.9~caller-0.default~default.svc.cluster.local",
        "sidecar~127.9.9.9~caller-0.default~other.svc.cluster.local",
        "sidecar~127.9.9.9~caller-99.default~default.svc.cluster.local",
        "sidecar~~caller-0.default~x",
    ],
)
async def test_a_workloads_id_in_disguise_needs_a_token_too(
    control_plane: Running, disguise: str
) -> None:
    assert (await ask(control_plane.xds, disguise, None))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_an_unknown_node_gets_what_any_client_may_know_and_is_named(
    control_plane: Running,
) -> None:
    async with listening(control_plane, "stranger") as node:
        await node.until(lambda: node.held.get("Cluster"))
        [shown] = control_plane.steer("GET", "/v1/status").json()["nodes"]
        assert (shown["id"], shown["workload"]) == ("stranger", False)
        assert not any(name.startswith("inbound") for name in node.held["Cluster"])
    assert "node stranger" in control_plane.log.read_text()
    assert "is no workload of this mesh" in control_plane.log.read_text()


async def test_require_token_refuses_unknown_nodes_without_one(
    mesh_directory: Path, ports: tuple[int, int]
) -> None:
    with running(mesh_directory, ports, "--require-token") as started:
        assert (await ask(started.xds, "stranger", None))[0] is grpc.StatusCode.UNAUTHENTICATED
        given = started.token("stranger")
        assert (await ask(started.xds, "stranger", given))[0] is grpc.StatusCode.OK


async def test_a_workload_that_comes_later_takes_its_id_from_a_stranger(
    control_plane: Running,
) -> None:
    """Who took the id before it was a workload's does not get what is the workload's."""
    later = MESH.split("---")[3].replace("caller", "later")
    control_plane.steer("POST", "/v1/apply", content=later)
    node_id = control_plane.node_id("later")
    control_plane.steer("DELETE", "/v1/objects/Workload/default/later")
    stranger = Listening(control_plane.xds, node_id, None)
    async with stranger.client:
        await stranger.until(lambda: stranger.held.get("Cluster"))
        await asyncio.to_thread(control_plane.steer, "POST", "/v1/apply", content=later)
        assert control_plane.node_id("later") == node_id
        await stranger.until(lambda: not stranger.client.status().connected)
        own = stranger.held.get("Listener", {})
        instance = control_plane.workloads()["later"]["instances"][0]
        addresses = {address for _, address in instance["service_addresses"]}
        assert not [name for name in own if name.rpartition("_")[0] in addresses]


async def test_no_secret_reaches_the_log(control_plane: Running) -> None:
    node_id = control_plane.node_id("caller")
    token = control_plane.token(node_id)
    await ask(control_plane.xds, node_id, token)
    await ask(control_plane.xds, node_id, token[:-1] + "x")
    log = control_plane.log.read_text()
    secret = (control_plane.state / "secret").read_text()
    assert token not in log and token[:-1] not in log and secret not in log


def test_the_socket_is_for_its_user_alone(control_plane: Running) -> None:
    found = (control_plane.state / "meltemi.sock").stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(control_plane.state.stat().st_mode) == 0o700


class TestAdmin:
    def test_it_reads_and_never_changes(self, control_plane: Running) -> None:
        url = f"http://{control_plane.admin}"
        assert httpx.get(f"{url}/ready").status_code == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/ready", "/config_dump", "/stats/prometheus", "/debug/syncz"):
                assert httpx.request(method, url + path).status_code == 405
        assert httpx.post(f"{url}/v1/apply", content="").status_code == 404

    def test_a_name_that_foreign_dns_decides_is_refused(self, control_plane: Running) -> None:
        url = f"http://{control_plane.admin}/config_dump"
        for headers in ({"Host": "rebound.example:15014"}, {"Origin": "http://page.example"}):
            assert httpx.get(url, headers=headers).status_code == 403

    async def test_it_shows_what_a_node_gets_and_what_it_acknowledged(
        self, control_plane: Running
    ) -> None:
        url = f"http://{control_plane.admin}"
        node_id = control_plane.node_id("caller")
        async with listening(control_plane, node_id, control_plane.token(node_id)) as node:
            await node.until(node.route)
            async with httpx.AsyncClient() as client:
                dump = (await client.get(f"{url}/config_dump?node=caller-0.default")).json()
                assert set(dump) == {"listeners", "routes", "clusters", "endpoints"}
                assert {found["@type"] for found in dump["clusters"].values()} == {messages.CLUSTER}
                await asyncio.sleep(0.1)
                [shown] = (await client.get(f"{url}/debug/syncz")).json()
                assert shown["proxy"] == node_id
                assert shown["cluster_sent"] == shown["cluster_acked"] != ""
                metrics = (await client.get(f"{url}/stats/prometheus")).text
                assert "\nmeltemi_nodes 1\n" in metrics
                assert (await client.get(f"{url}/config_dump?node=nobody")).status_code == 404


def _start(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = ["control-plane", "--config", str(directory), *options]
    return subprocess.run(
        [sys.executable, "-m", "meltemi", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("option", ["--xds-address", "--admin-address"])
def test_an_address_that_others_reach_is_refused_unless_told_insecure(
    mesh_directory: Path, option: str, free_port: Callable[[], int]
) -> None:
    for host in ("0.0.0.0", "[::]", "192.0.2.1"):
        done = _start(mesh_directory, option, f"{host}:{free_port()}")
        assert (done.returncode, "--insecure" in done.stderr) == (1, True), done.stderr


def test_insecure_in_so_many_words_binds_it(
    mesh_directory: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    options = ("--xds-address", f"0.0.0.0:{port}", "--insecure")
    with (
        running(mesh_directory, (free_port(), free_port()), *options),
        socket.create_connection(("127.0.0.1", port), timeout=5),
    ):
        pass


class TestPorts:
    def test_an_address_that_was_asked_for_and_is_taken_is_an_error_that_names_it(
        self, mesh_directory: Path, free_port: Callable[[], int]
    ) -> None:
        for option in ("--xds-address", "--admin-address"):
            port = free_port()
            with socket.create_server(("127.0.0.1", port)):
                other = f"127.0.0.1:{free_port()}"
                rest = {"--xds-address": "--admin-address"}.get(option, "--xds-address")
                done = _start(mesh_directory, option, f"127.0.0.1:{port}", rest, other)
            assert (done.returncode, f"127.0.0.1:{port}" in done.stderr) == (1, True), done.stderr
            assert "Traceback" not in done.stderr

    def test_without_an_address_the_next_free_pair_is_taken_and_kept_over_restarts(
        self, mesh_directory: Path
    ) -> None:
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("127.0.0.1", ports.ADMIN_PORT))
                holder.listen()
            except OSError:
                pass  # another mesh runs here: it is taken as well
            found = _listens(mesh_directory)
        assert found is not None and found.admin != f"127.0.0.1:{ports.ADMIN_PORT}"
        xds, admin = (int(address.rpartition(":")[2]) for address in (found.xds, found.admin))
        assert (admin - xds, xds > ports.XDS_PORT) == (4, True), "a pair, not two free ports"
        assert _listens(mesh_directory) == found


def _listens(directory: Path) -> ports.Addresses | None:
    """Starts a control plane without addresses, kills it, and gives where it listened."""
    arguments = [sys.executable, "-m", "meltemi", "control-plane", "--config", str(directory)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        found = ports.read(directory / ".meltemi" / "control-plane.json")
        process.kill()
    return found

"""`meltemi up` on a directory that people edit, and what they see of it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from meltemi.local.tour_thrift import CLIENT, HOST, Caller, router
from mesh import Mesh, eventually, meltemi, running

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "thrift"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("example") / "thrift"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    with running(directory) as mesh:
        yield mesh


@pytest.fixture
def caller(example: Mesh) -> Iterator[Caller]:
    environment = example.environment(CLIENT)
    caller = Caller(
        example.directory,
        environment["THRIFT_SAMPLE_SERVER_SERVICE_HOST"],
        int(environment["THRIFT_SAMPLE_SERVER_SERVICE_PORT"]),
    )
    yield caller
    caller.close()


def test_traffic_moves_within_200_ms_of_a_save(example: Mesh, caller: Caller) -> None:
    rule = example.directory / "rule.yaml"
    took = []
    for subset in ("v1", "v2", "v1", "v2", "v1"):
        rule.write_text(router((subset, 100)))
        saved = time.monotonic()
        streak = 0
        while streak < 2:
            streak = streak + 1 if caller.version() == subset else 0
            assert time.monotonic() - saved < 5
        took.append(time.monotonic() - saved)
    rule.unlink()
    eventually(lambda: caller.count(4) == {"v1": 2, "v2": 2})
    assert sorted(took)[2] < 0.2, took


def test_a_file_saved_with_an_error_changes_nothing_and_says_where(
    example: Mesh, caller: Caller
) -> None:
    rule = example.directory / "rule.yaml"
    rule.write_text(router(("v1", 100)))
    eventually(lambda: caller.count(4) == {"v1": 4})
    rule.write_text("kind: MetaRouter\nspec: [\n")
    eventually(lambda: "rule.yaml:" in example.output.read_text())
    assert caller.count(50) == {"v1": 50}
    issues = example.meltemi("status", "-o", "json").json()["issues"]
    assert any(Path(i["file"]).name == "rule.yaml" and i["line"] >= 2 for i in issues), issues
    rule.unlink()
    eventually(lambda: caller.count(4) == {"v1": 2, "v2": 2})
    eventually(lambda: not example.meltemi("status", "-o", "json").json()["issues"])


def test_an_editor_that_truncates_before_it_writes_drops_no_rule(
    example: Mesh, caller: Caller
) -> None:
    rule = example.directory / "rule.yaml"
    text = router(("v1", 100))
    rule.write_text(text)
    eventually(lambda: caller.count(4) == {"v1": 4})
    for _ in range(10):
        with rule.open("w") as file:
            file.flush()
            for piece in range(0, len(text), 50):
                file.write(text[piece : piece + 50])
                file.flush()
                assert caller.count(2) == {"v1": 2}
    rule.unlink()
    eventually(lambda: caller.count(4) == {"v1": 2, "v2": 2})


def test_an_object_of_a_file_is_not_taken_by_apply_or_delete(example: Mesh) -> None:
    document = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        "metadata: {name: thrift-sample-server, namespace: meta-thrift}\n"
        f"spec: {{host: {HOST}}}\n"
    )
    refused = example.meltemi("apply", "-f", "-", given=document)
    assert refused.code == 1 and "mesh.yaml" in refused.err + refused.out
    refused = example.meltemi(
        "delete", "DestinationRule", "thrift-sample-server", "-n", "meta-thrift"
    )
    assert refused.code == 1 and "mesh.yaml" in refused.err


def test_a_document_that_does_not_pass_changes_nothing(example: Mesh, caller: Caller) -> None:
    good = yaml.safe_load(router(("v1", 100)))
    bad = yaml.safe_load(router(("v1", 100)))
    bad["metadata"]["name"] = "other"
    bad["spec"]["routs"] = []
    both = yaml.safe_dump_all([good, bad])
    refused = example.meltemi("apply", "-f", "-", given=both)
    assert refused.code == 1 and "routs" in refused.err + refused.out
    assert "routes" in refused.err + refused.out  # the nearest known name
    assert caller.count(20) == {"v1": 10, "v2": 10}
    assert example.meltemi("get", "MetaRouter", "hello", "-n", "meta-thrift").code == 1


def test_explain_and_status_and_get_show_a_rule(example: Mesh, caller: Caller) -> None:
    assert example.meltemi("apply", "-f", "-", given=router(("v1", 100))).code == 0
    eventually(lambda: caller.count(2) == {"v1": 2})
    explained = example.meltemi(
        *("explain", "thrift-sample-server.meta-thrift", "--from", CLIENT),
        *("--attr", "method=sayHello"),
    )
    assert explained.code == 0 and "v1-100" in explained.out
    shown = example.meltemi("get", "metarouters", "hello", "-n", "meta-thrift", "-o", "json")
    assert shown.json()["metadata"]["name"] == "hello"
    status = example.meltemi("status", "-o", "json").json()
    assert len(status["nodes"]) == 3
    assert len([p for p in status["processes"] if p["pid"]]) == 7
    assert example.meltemi("delete", "MetaRouter", "hello", "-n", "meta-thrift").code == 0
    eventually(lambda: caller.count(4) == {"v1": 2, "v2": 2})


def test_a_killed_workload_and_a_killed_sidecar_come_back(example: Mesh, caller: Caller) -> None:
    name = "thrift-sample-server-v1-0.meta-thrift"
    for process in (name, f"{name} sidecar"):
        pid = example.processes()[process]["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda p=process, old=pid: example.processes()[p]["pid"] not in (None, old), 15)  # type: ignore[misc]
    eventually(lambda: _both(caller), 20)


def test_a_killed_control_plane_is_back_within_2_seconds(example: Mesh, caller: Caller) -> None:
    pid_file = example.directory / ".meltemi" / "control-plane.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    took = eventually(lambda: int(pid_file.read_text()) != pid, 5)
    assert took < 2.0
    assert caller.count(100) == {"v1": 50, "v2": 50}
    eventually(lambda: example.meltemi("status").code == 0, 10)


def test_logs_show_what_the_client_prints(example: Mesh) -> None:
    eventually(lambda: "response from" in example.meltemi("logs", CLIENT).out)
    last = example.meltemi("logs", "thrift-sample-client-0.meta-thrift", "--tail", "1")
    assert last.code == 0 and len(last.out.splitlines()) == 1
    missing = example.meltemi("logs", "nobody.meta-thrift")
    assert missing.code == 1 and "thrift-sample-client-0" in missing.err


def test_a_second_up_of_the_same_directory_is_refused(example: Mesh) -> None:
    done = meltemi("up", str(example.directory))
    assert done.code == 1 and "runs already" in done.err


def test_ports_of_the_mesh_open_on_its_own_addresses_only(example: Mesh) -> None:
    instance = example.workloads()["thrift-sample-server-v1.meta-thrift"]["instances"][0]
    assert instance["address"].startswith("127.") and instance["host"].startswith("127.")
    assert instance["address"] != instance["host"]


def test_everything_ends_with_up_even_when_it_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "thrift"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    with running(directory) as mesh:
        pids = [p["pid"] for p in mesh.processes().values()]
        assert len(pids) == 7 and all(pids)
        mesh.up.kill()
        mesh.up.wait()
        eventually(lambda: not any(_alive(pid) for pid in pids))


def test_addresses_and_applied_rules_survive_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "thrift"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    with running(directory) as mesh:
        before = mesh.environment(CLIENT)
        assert mesh.meltemi("apply", "-f", "-", given=router(("v1", 100))).code == 0
    with running(directory) as mesh:
        assert mesh.environment(CLIENT) == before
        host = before["THRIFT_SAMPLE_SERVER_SERVICE_HOST"]
        caller = Caller(directory, host, int(before["THRIFT_SAMPLE_SERVER_SERVICE_PORT"]))
        eventually(lambda: caller.count(4) == {"v1": 4})
        caller.close()


def _both(caller: Caller) -> bool:
    from thriftpy2.thrift import TApplicationException

    try:
        return caller.count(4) == {"v1": 2, "v2": 2}
    except TApplicationException:
        return False


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rsplit(") ", 1)[1][0] not in "ZX"


def test_a_service_that_comes_later_restarts_nobody(example: Mesh, caller: Caller) -> None:
    before = {name: p["pid"] for name, p in example.processes().items()}
    service = example.directory / "service.yaml"
    service.write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: meta-thrift}\n"
        "spec: {selector: {app: nobody}, ports: [{name: thrift-other, port: 9091}]}\n"
    )
    eventually(lambda: "OTHER_SERVICE_HOST" in example.environment(CLIENT))
    assert caller.count(20) == {"v1": 10, "v2": 10}
    service.unlink()
    eventually(lambda: "OTHER_SERVICE_HOST" not in example.environment(CLIENT))
    assert {name: p["pid"] for name, p in example.processes().items()} == before

"""`meltemi up` on a directory that people edit, and what they see of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mesh import Mesh, eventually, meltemi, running
from protocols import Connection, Problem
from samples import ENVIRONMENT, SAMPLES, Sample


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    return SAMPLES[request.param]


@pytest.fixture(scope="module")
def example(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = sample.copy(tmp_path_factory.mktemp("example"))
    with running(directory, env=ENVIRONMENT) as mesh:
        yield mesh


@pytest.fixture
def caller(sample: Sample, example: Mesh) -> Iterator[Connection]:
    with sample.connect(example) as connection:
        yield connection


def test_traffic_moves_within_200_ms_of_a_save(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    rule = example.directory / "rule.yaml"
    took = []
    for subset in ("v1", "v2", "v1", "v2", "v1"):
        rule.write_text(sample.router((subset, 100)))
        saved = time.monotonic()
        streak = 0
        while streak < 2:
            streak = streak + 1 if caller.version() == subset else 0
            assert time.monotonic() - saved < 5
        took.append(time.monotonic() - saved)
    rule.unlink()
    eventually(lambda: caller.versions(4) == {"v1": 2, "v2": 2})
    assert sorted(took)[2] < 0.2, took


def test_a_file_saved_with_an_error_changes_nothing_and_says_where(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    rule = example.directory / "rule.yaml"
    rule.write_text(sample.router(("v1", 100)))
    eventually(lambda: caller.versions(4) == {"v1": 4})
    rule.write_text("kind: MetaRouter\nspec: [\n")
    eventually(lambda: "rule.yaml:" in example.output.read_text())
    assert caller.versions(50) == {"v1": 50}
    issues = example.meltemi("status", "-o", "json").json()["issues"]
    assert any(Path(i["file"]).name == "rule.yaml" and i["line"] >= 2 for i in issues), issues
    rule.unlink()
    eventually(lambda: caller.versions(4) == {"v1": 2, "v2": 2})
    eventually(lambda: not example.meltemi("status", "-o", "json").json()["issues"])


def test_an_editor_that_truncates_before_it_writes_drops_no_rule(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    rule = example.directory / "rule.yaml"
    text = sample.router(("v1", 100))
    rule.write_text(text)
    eventually(lambda: caller.versions(4) == {"v1": 4})
    for _ in range(10):
        with rule.open("w") as file:
            file.flush()
            for piece in range(0, len(text), 50):
                file.write(text[piece : piece + 50])
                file.flush()
                assert caller.versions(2) == {"v1": 2}
    rule.unlink()
    eventually(lambda: caller.versions(4) == {"v1": 2, "v2": 2})


def test_an_object_of_a_file_is_not_taken_by_apply_or_delete(sample: Sample, example: Mesh) -> None:
    document = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {sample.server}, namespace: {sample.namespace}}}\n"
        f"spec: {{host: {sample.host}}}\n"
    )
    refused = example.meltemi("apply", "-f", "-", given=document)
    assert refused.code == 1 and "mesh.yaml" in refused.err + refused.out
    refused = example.meltemi("delete", "DestinationRule", sample.server, "-n", sample.namespace)
    assert refused.code == 1 and "mesh.yaml" in refused.err


def test_a_document_that_does_not_pass_changes_nothing(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    good = yaml.safe_load(sample.router(("v1", 100)))
    bad = yaml.safe_load(sample.router(("v1", 100)))
    bad["metadata"]["name"] = "other"
    bad["spec"]["routs"] = []
    both = yaml.safe_dump_all([good, bad])
    refused = example.meltemi("apply", "-f", "-", given=both)
    assert refused.code == 1 and "routs" in refused.err + refused.out
    assert "routes" in refused.err + refused.out  # the nearest known name
    assert caller.versions(20) == {"v1": 10, "v2": 10}
    assert example.meltemi("get", "MetaRouter", "hello", "-n", sample.namespace).code == 1


def test_explain_and_status_and_get_show_a_rule(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    assert example.meltemi("apply", "-f", "-", given=sample.router(("v1", 100))).code == 0
    eventually(lambda: caller.versions(2) == {"v1": 2})
    explained = example.meltemi(
        *("explain", sample.host, "--from", f"{sample.client}.{sample.namespace}"),
        *("--attr", "method=sayHello"),
    )
    assert explained.code == 0 and "v1-100" in explained.out
    shown = example.meltemi("get", "metarouters", "hello", "-n", sample.namespace, "-o", "json")
    assert shown.json()["metadata"]["name"] == "hello"
    status = example.meltemi("status", "-o", "json").json()
    assert len(status["nodes"]) == 3
    assert len([p for p in status["processes"] if p["pid"]]) == 7
    assert example.meltemi("delete", "MetaRouter", "hello", "-n", sample.namespace).code == 0
    eventually(lambda: caller.versions(4) == {"v1": 2, "v2": 2})


def test_a_killed_workload_and_a_killed_sidecar_come_back(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    name = f"{sample.server}-v1-0.{sample.namespace}"
    for process in (name, f"{name} sidecar"):
        pid = example.processes()[process]["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda p=process, old=pid: example.processes()[p]["pid"] not in (None, old), 15)  # type: ignore[misc]
    eventually(lambda: _both(caller), 20)


def test_a_killed_control_plane_is_back_within_2_seconds(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    pid_file = example.directory / ".meltemi" / "control-plane.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    took = eventually(lambda: int(pid_file.read_text()) != pid, 5)
    assert took < 2.0
    assert caller.versions(100).total() == 100
    eventually(lambda: example.meltemi("status").code == 0, 10)


def test_logs_show_what_the_client_prints(sample: Sample, example: Mesh) -> None:
    sample.have_called(example)
    client = f"{sample.client}.{sample.namespace}"
    eventually(lambda: "response from" in example.meltemi("logs", client).out)
    last = example.meltemi("logs", f"{sample.client}-0.{sample.namespace}", "--tail", "1")
    assert last.code == 0 and len(last.out.splitlines()) == 1
    missing = example.meltemi("logs", f"nobody.{sample.namespace}")
    assert missing.code == 1 and f"{sample.client}-0" in missing.err


def test_a_second_up_of_the_same_directory_is_refused(example: Mesh) -> None:
    done = meltemi("up", str(example.directory))
    assert done.code == 1 and "runs already" in done.err


def test_ports_of_the_mesh_open_on_its_own_addresses_only(sample: Sample, example: Mesh) -> None:
    instance = example.workloads()[f"{sample.server}-v1.{sample.namespace}"]["instances"][0]
    assert instance["address"].startswith("127.") and instance["host"].startswith("127.")
    assert instance["address"] != instance["host"]


def test_everything_ends_with_up_even_when_it_is_killed(sample: Sample, tmp_path: Path) -> None:
    directory = sample.copy(tmp_path)
    with running(directory, env=ENVIRONMENT) as mesh:
        pids = [p["pid"] for p in mesh.processes().values()]
        assert len(pids) == 7 and all(pids)
        mesh.up.kill()
        mesh.up.wait()
        eventually(lambda: not any(_alive(pid) for pid in pids))


def test_addresses_and_applied_rules_survive_a_restart(sample: Sample, tmp_path: Path) -> None:
    directory = sample.copy(tmp_path)
    client = f"{sample.client}.{sample.namespace}"
    with running(directory, env=ENVIRONMENT) as mesh:
        before = mesh.environment(client)
        assert mesh.meltemi("apply", "-f", "-", given=sample.router(("v1", 100))).code == 0
    with running(directory, env=ENVIRONMENT) as mesh:
        assert mesh.environment(client) == before
        with sample.connect(mesh) as caller:
            eventually(lambda: caller.versions(4) == {"v1": 4})


def _both(caller: Connection) -> bool:
    try:
        return caller.versions(4) == {"v1": 2, "v2": 2}
    except Problem:
        return False


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rsplit(") ", 1)[1][0] not in "ZX"


def test_a_service_that_comes_later_restarts_nobody(
    sample: Sample, example: Mesh, caller: Connection
) -> None:
    before = {name: p["pid"] for name, p in example.processes().items()}
    service = example.directory / "service.yaml"
    service.write_text(
        "apiVersion: v1\nkind: Service\n"
        f"metadata: {{name: other, namespace: {sample.namespace}}}\n"
        "spec:\n  selector: {app: nobody}\n"
        f"  ports: [{{name: {sample.protocol}-other, port: 9091}}]\n"
    )
    eventually(
        lambda: "OTHER_SERVICE_HOST" in example.environment(f"{sample.client}.{sample.namespace}")
    )
    assert caller.versions(20).total() == 20
    service.unlink()
    eventually(
        lambda: (
            "OTHER_SERVICE_HOST" not in example.environment(f"{sample.client}.{sample.namespace}")
        )
    )
    assert {name: p["pid"] for name, p in example.processes().items()} == before

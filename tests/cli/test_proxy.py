"""`meltemi proxy` against a real sidecar, in the shapes that are promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from control_plane_process import HOST, Running
from sidecar_process import Sidecar, backend, call, connected, sidecar

Meltemi = Callable[..., subprocess.CompletedProcess[str]]

ROUTER = f"""\
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: echo}}
spec:
  hosts: [{HOST}]
  routes:
  - name: greetings
    match:
      attributes:
        method: {{exact: sayHello}}
        a: {{prefix: x}}
        b: {{regex: "x.*"}}
        c: {{}}
    route: [{{destination: {{host: {HOST}, subset: v1}}}}]
  - name: split
    route:
    - {{destination: {{host: {HOST}, subset: v1}}, weight: 20}}
    - {{destination: {{host: {HOST}, subset: v2}}, weight: 80}}
"""


@pytest.fixture
def meltemi(control_plane: Running) -> Meltemi:
    def run(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "meltemi", *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(control_plane.directory.parent)},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def caller(control_plane: Running) -> Iterator[Sidecar]:
    with sidecar(control_plane, control_plane.node_id("caller")) as started:
        yield started


@pytest.mark.usefixtures("caller")
def test_config_shows_the_filter_of_each_listener(meltemi: Meltemi) -> None:
    done = meltemi("proxy", "config", "caller")
    [found] = json.loads(done.stdout)
    assert set(found) == {"name", "typed_config"}
    assert found["name"] == "envoy.filters.network.meta_protocol_proxy"
    typed = found["typed_config"]
    assert typed["@type"] == "type.googleapis.com/udpa.type.v1.TypedStruct"
    proxy = "type.googleapis.com/aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy"
    assert typed["type_url"] == proxy
    value = typed["value"]
    assert value["stat_prefix"] and value["application_protocol"] == "thrift"
    assert value["codec"]["name"] == "aeraki.meta_protocol.codec.thrift"
    assert value["rds"]["route_config_name"] == f"{HOST}_9090"
    assert "ads" in value["rds"]["config_source"]
    assert value["meta_protocol_filters"][-1]["name"] == "aeraki.meta_protocol.filters.router"


@pytest.mark.usefixtures("caller")
def test_routes_shows_matches_and_weights_by_the_rules_own_names(meltemi: Meltemi) -> None:
    assert meltemi("apply", "-f", "-", given=ROUTER).returncode == 0
    done = meltemi("proxy", "routes", "caller-0.default")
    [config] = json.loads(done.stdout)["dynamic_route_configs"]
    assert config["version_info"] and config["last_updated"].endswith("Z")
    found = config["route_config"]
    assert found["name"] == f"{HOST}_9090"
    greetings, split = found["routes"]
    assert greetings["name"] == "greetings"
    matches = {each["name"]: each for each in greetings["match"]["metadata"]}
    assert matches["method"] == {"name": "method", "exact_match": "sayHello"}
    assert matches["a"] == {"name": "a", "prefix_match": "x"}
    assert matches["b"]["safe_regex_match"]["regex"] == "x.*"
    assert matches["c"] == {"name": "c", "present_match": True}
    assert greetings["route"] == {"cluster": f"outbound|9090|v1|{HOST}"}
    assert split["route"]["weighted_clusters"] == {
        "clusters": [
            {"name": f"outbound|9090|v1|{HOST}", "weight": 20},
            {"name": f"outbound|9090|v2|{HOST}", "weight": 80},
        ],
        "total_weight": 100,
    }


@pytest.mark.usefixtures("caller")
def test_clusters_and_stats_count_what_went_through(
    meltemi: Meltemi, control_plane: Running
) -> None:
    with backend(control_plane, 0), backend(control_plane, 1), connected(control_plane) as one:
        for ordinal in range(10):
            call(one, ordinal)
    lines = meltemi("proxy", "clusters", "caller").stdout.splitlines()
    assert lines[0].split()[:2] == ["CLUSTER", "ENDPOINT"]
    assert lines[0].split()[5] == "TOTAL"
    totals = [line.split()[5] for line in lines if line.startswith(f"outbound|9090||{HOST}")]
    assert totals == ["5", "5"]
    shown = json.loads(meltemi("proxy", "clusters", "caller", "-o", "json").stdout)
    assert {each["name"] for each in shown["cluster_statuses"]} >= {f"outbound|9090||{HOST}"}
    wanted = f"{HOST}.upstream_rq_total"
    assert meltemi("proxy", "stats", "caller", "--filter", wanted).stdout.endswith(" 10\n")
    assert "istio_requests_total" in meltemi("proxy", "stats", "caller", "-o", "prometheus").stdout


@pytest.mark.usefixtures("caller")
def test_the_log_level_is_shown_and_set(meltemi: Meltemi) -> None:
    assert "info" in meltemi("proxy", "log-level", "caller").stdout
    assert "debug" in meltemi("proxy", "log-level", "caller", "debug").stdout
    assert "debug" in meltemi("proxy", "log-level", "caller").stdout
    assert meltemi("proxy", "log-level", "caller", "loud").returncode == 2


def test_several_replicas_are_listed_and_none_is_chosen(meltemi: Meltemi) -> None:
    done = meltemi("proxy", "routes", "echo-v1")
    assert done.returncode == 1
    assert "echo-v1-0.default, echo-v1-1.default" in done.stderr


def test_a_sidecar_that_does_not_run_is_unreachable(meltemi: Meltemi) -> None:
    done = meltemi("proxy", "routes", "echo-v1-1")
    assert (done.returncode, "does not answer" in done.stderr) == (3, True)


@pytest.mark.parametrize("workload", ["absent", "caller.other", "caller-7"])
def test_a_workload_that_is_not_there_is_said_with_those_that_are(
    meltemi: Meltemi, workload: str
) -> None:
    done = meltemi("proxy", "config", workload)
    assert (done.returncode, "caller.default" in done.stderr) == (1, True)


def test_a_workload_without_a_sidecar_has_nothing_to_show(
    meltemi: Meltemi, control_plane: Running
) -> None:
    plain = (control_plane.directory / "mesh.yaml").read_text().split("---")[3]
    plain = plain.replace("caller", "plain").replace("spec: {", "spec: {mesh: none, ")
    assert meltemi("apply", "-f", "-", given=plain).returncode == 0
    done = meltemi("proxy", "config", "plain")
    assert (done.returncode, "has no sidecar" in done.stderr) == (1, True)


def test_a_sidecar_is_found_while_the_control_plane_is_away(
    meltemi: Meltemi, control_plane: Running, caller: Sidecar
) -> None:
    row = {"name": "caller-0.default sidecar", "pid": caller.process.pid, "restarts": 0}
    about = {"workload": "caller", "namespace": "default", "node": caller.node_id}
    table = {"pid": os.getpid(), "processes": [{**row, **about, "address": caller.address}]}
    (control_plane.state / "processes.json").write_text(json.dumps(table))
    control_plane.kill()
    done = meltemi("proxy", "routes", "caller")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dynamic_route_configs"]

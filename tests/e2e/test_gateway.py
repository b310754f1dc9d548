"""Requests from outside, through the stock Envoy that `meltemi up` runs for a gateway."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gateway_mesh
import httpx
import pytest
from gateway_mesh import Edge, busy, to
from meltemi.controlplane.tokens import Tokens
from mesh import eventually, running


@pytest.fixture(scope="module")
def running_edge(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Edge]:
    directory = tmp_path_factory.mktemp("gateway") / "mesh"
    directory.mkdir()
    (directory / "echo.py").write_text(gateway_mesh.ECHO)
    port, partner_port = free_port(), free_port()
    (directory / "mesh.yaml").write_text(gateway_mesh.documents(port, partner_port))
    with running(directory) as mesh:
        yield Edge(mesh, port, partner_port)


@pytest.fixture
def edge(running_edge: Edge) -> Iterator[Edge]:
    """As its files say, before and after the test."""
    yield running_edge
    running_edge.mesh.meltemi("delete", "VirtualService", "rules", "-n", gateway_mesh.NAMESPACE)


def rules(http: list[dict[str, Any]], *hosts: str) -> dict[str, Any]:
    found = list(hosts) or ["www.example.com"]
    return gateway_mesh.virtual_service("rules", found, ["edge"], http)


def test_a_request_from_outside_is_answered_by_a_workload(edge: Edge) -> None:
    answer = edge.get("/a?b=c")
    said = answer.json()
    assert (said["pod"], said["path"]) == ("page-v1-0", "/a?b=c")
    assert answer.headers["server"] == "meltemi"
    gateway = edge.mesh.workloads()["edge-gateway.shop"]["instances"][0]["address"]
    assert said["peer"] == gateway, "connections come from INSTANCE_IP"
    assert "x-forwarded-for" in dict(said["headers"])


def test_it_listens_at_its_own_address_too(edge: Edge) -> None:
    address = edge.mesh.workloads()["edge-gateway.shop"]["instances"][0]["address"]
    assert httpx.get(f"http://{address}:8080/").json()["pod"] == "page-v1-0"


def test_each_gateway_serves_its_own_rules(edge: Edge) -> None:
    partner = f"http://127.0.0.1:{edge.partner_port}/"
    answer = httpx.get(partner, headers={"host": "partner.example.org"})
    assert answer.json()["pod"] == "api-v1-0"
    assert httpx.get(partner, headers={"host": "www.example.com"}).status_code == 404
    assert httpx.get(partner).status_code == 404


DONE: list[dict[str, Any]] = [
    {
        "match": [{"uri": {"exact": "/healthz"}}],
        "directResponse": {"status": 201, "body": {"string": "fine"}},
    },
    {
        "match": [{"uri": {"prefix": "/old"}}],
        "redirect": {"uri": "/new", "authority": "new.example.com", "redirectCode": 308},
    },
    {
        "match": [{"uri": {"prefix": "/v1/"}}],
        "rewrite": {"uri": "/", "authority": "inner"},
        "headers": {
            "request": {"set": {"x-by": "edge"}, "remove": ["x-secret"]},
            "response": {"add": {"x-answered": "yes"}},
        },
        "route": [to("api")],
    },
    {
        "match": [{"uri": {"regex": "/r/[0-9]+"}}],
        "rewrite": {"uriRegexRewrite": {"match": "/r/([0-9]+)", "rewrite": r"/n/\1"}},
        "route": [to("api")],
    },
    {
        "match": [{"queryParams": {"to": {"exact": "api"}}}],
        "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
        "route": [to("api")],
    },
    {
        "match": [{"uri": {"prefix": "/slow"}}],
        "timeout": "100ms",
        "retries": {"attempts": 0},
        "route": [to("api")],
    },
]


def test_routes_do_what_an_http_proxy_does(edge: Edge) -> None:
    edge.mesh.apply(rules(DONE))
    answer = edge.get("/healthz")
    assert (answer.status_code, answer.text) == (201, "fine")
    answer = edge.get("/old/a")
    assert answer.status_code == 308
    assert answer.headers["location"] == "http://new.example.com/new"
    answer = edge.get("/v1/a/b?c=d", **{"x-secret": "s"})
    said = answer.json()
    headers = dict(said["headers"])
    assert (said["pod"], said["path"]) == ("api-v1-0", "/a/b?c=d")
    assert (headers["host"], headers["x-by"]) == ("inner", "edge")
    assert "x-secret" not in headers
    assert answer.headers["x-answered"] == "yes"
    assert edge.get("/r/17").json()["path"] == "/n/17"
    assert edge.get("/?to=api").status_code == 418
    began = time.monotonic()
    assert edge.get("/slow?s=5").status_code == 504
    assert time.monotonic() - began < 4
    assert edge.get("/nothing").status_code == 404, "of a host that has routes they decide alone"
    assert edge.get("/nothing", host="other.example.com").json()["pod"] == "page-v1-0"


def test_pages_of_other_origins_call_where_the_rule_lets_them(edge: Edge) -> None:
    policy = {
        "allowOrigins": [{"exact": "https://a.example"}],
        "allowMethods": ["GET", "PUT"],
        "maxAge": "24h",
        "unmatchedPreflights": "IGNORE",
    }
    edge.mesh.apply(rules([{"corsPolicy": policy, "route": [to("api")]}]))
    asked = {"access-control-request-method": "PUT", "host": "www.example.com"}
    preflight = httpx.options(edge.url, headers={**asked, "origin": "https://a.example"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-methods"] == "GET,PUT"
    assert preflight.headers["access-control-max-age"] == "86400"
    answer = edge.get("/", origin="https://a.example")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    other = httpx.options(edge.url, headers={**asked, "origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers


def test_the_narrowest_host_decides_and_rules_of_one_host_follow_each_other(edge: Edge) -> None:
    edge.mesh.apply(rules([{"route": [to("api")]}], "*.example.com"))
    assert edge.pod() == "api-v1-0"
    assert edge.pod(host="www.example.org") == "page-v1-0"
    edge.mesh.apply(rules([{"match": [{"uri": {"prefix": "/api"}}], "route": [to("api")]}], "*"))
    assert edge.pod("/api/x") == "api-v1-0", "after the rule that takes everything, and before it"
    assert edge.pod("/") == "page-v1-0"


def test_weights_are_shares_of_the_requests(edge: Edge) -> None:
    edge.mesh.apply(rules([{"route": [to("page", "v1", 80), to("page", "v2", 20)]}]))
    count, share = 1000, 0.2
    found = edge.pods(count)["page-v2-0"]
    assert abs(found - count * share) < 5 * math.sqrt(count * share * (1 - share)), found


def test_a_mirror_gets_a_copy(edge: Edge) -> None:
    mirror = {"host": "api"}
    edge.mesh.apply(rules([{"route": [to("page", "v1")], "mirror": mirror}]))
    assert edge.pod() == "page-v1-0"

    def mirrored() -> bool:
        rows = edge.mesh.meltemi("proxy", "clusters", "edge-gateway.shop", "-o", "json").json()
        name = "outbound|80||api.shop.svc.cluster.local"
        (api,) = (each for each in rows["cluster_statuses"] if each["name"] == name)
        stats = {s["name"]: int(s.get("value", 0)) for s in api["host_statuses"][0]["stats"]}
        return stats["rq_total"] > 0

    eventually(mirrored)


def test_a_request_that_the_gateway_colours_gets_to_the_lane(edge: Edge) -> None:
    answer = edge.get("/", uid="100").json()
    assert answer["pod"] == "page-v3-dev-0"
    assert dict(answer["headers"])["baggage"] == "env=dev"
    assert edge.pods(20) == {"page-v1-0": 20}, "who is not coloured is in no lane"


def test_a_lane_is_left_where_the_service_has_no_instance_of_it(edge: Edge) -> None:
    edge.mesh.apply(rules([{"route": [to("api")]}]))
    answer = edge.get("/", uid="100").json()
    assert answer["pod"] == "api-v1-0"
    assert dict(answer["headers"])["baggage"] == "env=dev", "and entered again at the next hop"


def test_a_strict_lane_without_an_instance_is_an_error_that_names_it(edge: Edge) -> None:
    entry = [{"headers": {"uid": {"exact": "300"}}}]
    edge.mesh.apply(gateway_mesh.lane("green", entry=entry, mode="strict"))
    eventually(lambda: edge.get("/", uid="300").status_code == 503)
    assert edge.get("/", uid="300").text == "no healthy upstream in lane green\n"
    edge.mesh.meltemi("delete", "Lane", "green", "-n", gateway_mesh.NAMESPACE)


@pytest.mark.parametrize(
    "headers",
    [
        [("baggage", "env=dev")],
        [("Baggage", "a=b"), ("BAGGAGE", "env = dev ;p=1")],
        [("baggage", "e%6Ev=dev")],
        [("ot-baggage-env", "dev")],
        [("uberctx-env", "dev")],
        [("rpc-transit-baggage", "env=dev")],
    ],
)
def test_a_mark_from_outside_does_not_come_in(edge: Edge, headers: list[tuple[str, str]]) -> None:
    answer = httpx.get(f"{edge.url}/", headers=headers).json()
    assert answer["pod"] == "page-v1-0"
    assert "dev" not in str(answer["headers"])


def test_a_header_that_another_program_would_read_as_another_name_is_refused(edge: Edge) -> None:
    assert edge.get("/", rpc_transit_baggage="env=dev").status_code == 400


def test_the_lane_keeps_what_the_route_says(edge: Edge) -> None:
    split = [to("page", "v1", 50), to("page", "v2", 50)]
    match = [{"uri": {"prefix": "/x/"}}]
    edge.mesh.apply(rules([{"match": match, "rewrite": {"uri": "/"}, "route": split}]))
    answers = [edge.get("/x/y", uid="100").json() for _ in range(10)]
    assert {(each["pod"], each["path"]) for each in answers} == {("page-v3-dev-0", "/y")}
    assert edge.get("/y", uid="100").status_code == 404


def test_the_lanes_instance_dies_and_comes_back(edge: Edge) -> None:
    name = "page-v3-dev-0.shop"
    before = edge.mesh.processes()[name]["pid"]
    with busy(edge, uid="100") as load:
        for _ in range(3):
            eventually(lambda: edge.mesh.processes()[name]["pid"])
            os.kill(edge.mesh.processes()[name]["pid"], signal.SIGKILL)
            time.sleep(0.2)
        eventually(lambda: edge.pod(uid="100") == "page-v1-0")
        eventually(lambda: edge.pod(uid="100") == "page-v3-dev-0", 30)
    assert edge.mesh.processes()[name]["pid"] != before
    assert set(load.statuses) <= {200, 503}, load
    assert load.statuses[503] <= 6, f"of each client one a kill, which was in flight: {load}"
    assert not load.failed


@pytest.mark.slow
def test_rules_change_under_load_and_no_request_fails(edge: Edge) -> None:
    modified = "listener_manager.listener_(modified|in_place_updated)"
    before = edge.mesh.meltemi("proxy", "stats", "edge-gateway.shop", "--filter", modified).out
    with busy(edge) as load:
        for turn in range(2):
            weight = 20 + 10 * turn
            both = [to("page", "v1", 100 - weight), to("page", "v2", weight)]
            edge.mesh.apply(rules([{"route": both}]))
            edge.mesh.apply(rules([{"route": [to("api")]}]))
            entry = [{"uri": {"exact": f"/other{turn}"}}]
            edge.mesh.apply(gateway_mesh.lane("other", labels={"version": "v2"}, entry=entry))
            edge.mesh.meltemi("delete", "Lane", "other", "-n", gateway_mesh.NAMESPACE)
        edge.mesh.meltemi("delete", "VirtualService", "rules", "-n", gateway_mesh.NAMESPACE)
    assert not load.failed
    assert set(load.statuses) == {200}, load.statuses
    assert load.statuses[200] > 200
    after = edge.mesh.meltemi("proxy", "stats", "edge-gateway.shop", "--filter", modified).out
    assert after == before != "", "no listener was replaced, and so no connection closed"


def test_proxy_shows_what_the_gateway_holds(edge: Edge) -> None:
    (listener, _) = edge.mesh.meltemi("proxy", "config", "edge-gateway.shop").json()
    assert listener["typed_config"]["rds"]["route_config_name"] == "http.8080"
    (routes,) = edge.mesh.meltemi("proxy", "routes", "edge-gateway.shop").json()[
        "dynamic_route_configs"
    ]
    assert routes["route_config"]["name"] == "http.8080"
    clusters = edge.mesh.meltemi("proxy", "clusters", "edge-gateway.shop")
    assert "outbound|80|v1|page.shop.svc.cluster.local" in clusters.out
    stats = edge.mesh.meltemi("proxy", "stats", "edge-gateway.shop", "--filter", "rds")
    assert "http.8080.update_success" in stats.out
    level = edge.mesh.meltemi("proxy", "log-level", "edge-gateway.shop", "info")
    assert level.code == 0, level.err
    assert "http: info" in level.out


def test_its_admin_api_is_for_reading(edge: Edge) -> None:
    address = edge.mesh.workloads()["edge-gateway.shop"]["instances"][0]["address"]
    admin = f"http://{address}:15000"
    assert httpx.get(f"{admin}/ready").text == "LIVE\n"
    assert "envoy_" in httpx.get(f"{admin}/stats/prometheus").text
    for path in ("/quitquitquit", "/drain_listeners", "/runtime_modify?a=b", "/healthcheck/fail"):
        assert httpx.post(admin + path).status_code == 404
    page = {"origin": "http://example.com"}
    assert httpx.post(f"{admin}/logging?level=trace", headers=page).status_code == 404
    elsewhere = {"host": "example.com"}
    assert httpx.get(f"{admin}/config_dump", headers=elsewhere).status_code == 404
    secret = Tokens.open(edge.mesh.directory / ".meltemi")
    node_id = edge.mesh.workloads()["edge-gateway.shop"]["instances"][0]["node_id"]
    token = secret.token(node_id).reveal()
    for query in ("", "?resource=bootstrap", "?mask=bootstrap", "?resource=x&resource=y"):
        assert httpx.get(f"{admin}/config_dump{query}").status_code == 404, query
    kinds = ("dynamic_listeners", "dynamic_active_clusters", "ecds_filters")
    shown = [httpx.get(f"{admin}/config_dump?resource={kind}").text for kind in kinds]
    assert all("meltemi" in text or "outbound" in text for text in shown)
    assert token not in str(shown), "whoever asks here could speak for the gateway"


def test_status_has_it_among_the_nodes(edge: Edge) -> None:
    status = edge.mesh.meltemi("status", "-o", "json").json()
    nodes = {node["id"]: node for node in status["nodes"]}
    (node,) = (node for node_id, node in nodes.items() if "edge-gateway-0.shop" in node_id)
    assert node["client"] == "envoy" and node["workload"]
    assert not any(found["refused"] for found in node["types"].values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_that_ends_is_started_again(edge: Edge, number: int) -> None:
    name = "edge-gateway-0.shop"
    before = edge.mesh.processes()[name]["restarts"]
    os.kill(edge.mesh.processes()[name]["pid"], number)
    eventually(lambda: edge.mesh.processes()[name]["restarts"] > before)
    eventually(lambda: edge.pod() == "page-v1-0")
    assert "caught ENVOY_SIGTERM" in edge.mesh.meltemi("logs", "edge-gateway.shop").out


def test_a_replica_that_is_replaced_answers_what_is_in_flight(edge: Edge) -> None:
    edge.mesh.apply(rules([{"route": [to("api")]}]))
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(edge.get("/slow?s=2")))
    asking.start()
    time.sleep(0.5)
    path = edge.mesh.directory / "mesh.yaml"
    before = path.read_text()
    try:
        head, found, tail = before.partition("mesh: gateway\n")
        path.write_text(f"{head}{found}  env: {{A: B}}\n{tail}")
        asking.join()
        assert answers[0].status_code == 200
        eventually(lambda: edge.pod() == "api-v1-0", 20)
    finally:
        path.write_text(before)


PLAIN = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: edge}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: certificate}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{directResponse: {status: 200, body: {string: hello}}}]
---
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: edge, labels: {istio: edge}}
spec: {mesh: gateway, ports: [{name: http, port: 8080, hostPort: PORT}, {name: https, port: 8443}]}
"""


def test_a_port_of_tls_is_not_opened_and_that_is_said(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    port = free_port()
    (directory / "mesh.yaml").write_text(PLAIN.replace("PORT", str(port)))
    with running(directory) as mesh:
        eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/").text == "hello")
        address = mesh.workloads()["edge.default"]["instances"][0]["address"]
        with pytest.raises(OSError), socket.create_connection((address, 8443), 1):
            pass
        assert "protocol HTTPS is not there yet" in mesh.meltemi("status").out
        mesh.up.kill()
        eventually(lambda: _is_closed(port))  # it ends with `up`, however that ends


def test_a_gateway_that_is_taken_away_leaves_nothing(
    edge: Edge, free_port: Callable[[], int]
) -> None:
    port = 8080
    edge.mesh.apply(gateway_mesh.gateway_workload("gone", free_port()))
    edge.mesh.apply(gateway_mesh.gateway("gone", ["*"]))
    eventually(lambda: "gone-gateway-0.shop" in edge.mesh.processes())
    address = edge.mesh.workloads()["gone-gateway.shop"]["instances"][0]["address"]
    eventually(lambda: not _is_closed(port, address))
    socket_of = edge.mesh.directory / ".meltemi" / f"gateway-{address}.sock"
    assert socket_of.is_socket()
    edge.mesh.meltemi("delete", "Workload", "gone-gateway", "-n", gateway_mesh.NAMESPACE)
    edge.mesh.meltemi("delete", "Gateway", "gone", "-n", gateway_mesh.NAMESPACE)
    eventually(lambda: "gone-gateway-0.shop" not in edge.mesh.processes())
    assert _is_closed(port, address)
    assert not socket_of.exists()


def _is_closed(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0


def test_a_host_port_that_is_taken_is_named_and_the_rest_is_served(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    directory = tmp_path / "mesh"
    directory.mkdir()
    port = free_port()
    (directory / "mesh.yaml").write_text(PLAIN.replace("PORT", str(port)))
    with socket.create_server(("127.0.0.1", port)), running(directory) as mesh:
        address = mesh.workloads()["edge.default"]["instances"][0]["address"]
        eventually(lambda: httpx.get(f"http://{address}:8080/").text == "hello")
        eventually(lambda: f"127.0.0.1:{port}" in mesh.meltemi("status").out)
        assert "Address already in use" in mesh.meltemi("status").out


def test_without_envoy_up_says_what_to_install(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    directory, shadow = tmp_path / "mesh", tmp_path / "shadow"
    directory.mkdir()
    (shadow / "envoy").mkdir(parents=True)
    (shadow / "envoy" / "__init__.py").touch()
    (directory / "mesh.yaml").write_text(PLAIN.replace("PORT", str(free_port())))
    path = os.pathsep.join([str(shadow), os.environ.get("PYTHONPATH", "")])
    with running(directory, env={"PYTHONPATH": path}) as mesh:
        assert "pip install 'meltemi[gateway]'" in mesh.output.read_text()
        assert "pip install 'meltemi[gateway]'" in mesh.meltemi("status").out


def test_the_gateway_is_the_first_hop_of_a_trace(edge: Edge) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    edge.get("/", uid="100", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    receiver = edge.mesh.meltemi("status", "-o", "json").json()["traces"]["receiver"]

    def hops() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{receiver}/api/traces/{trace}").json()["hops"]
        return found

    eventually(lambda: len(hops()) == 2)
    gateway, page = hops()
    assert (gateway["service"], gateway["instance"]) == ("edge-gateway", "edge-gateway-0")
    assert (page["service"], page["parent"]) == ("page", gateway["id"])
    assert (page["mark"], page["lane"]) == ("dev", "dev")

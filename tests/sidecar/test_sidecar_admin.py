"""The sidecar's admin API: Envoy's paths and shapes, over an engine whose answers are known."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from meltemi.admin.http import Handler, HttpError, Request, Response
from meltemi.sidecar.admin import Admin
from meltemi.sidecar.holdings import Holdings
from meltemi.xds import messages
from meltemi.xds.client_values import TypeStatus
from meltemi.xds.resource import Resource
from meltemi.xds.shell import Accepted

ADMIN = "type.googleapis.com/envoy.admin.v3."
NODE = {"id": "sidecar~127.1.2.3~a-0.b~b.svc.cluster.local", "metadata": {}}


class KnownEngine:
    """An engine with one cluster of three endpoints."""

    level = "info"
    errors: Sequence[tuple[str, str]] = ()

    def clusters(self) -> list[dict[str, Any]]:
        endpoint = {"address": "127.1.0.1:9090", "healthy": True, "weight": 1}
        endpoint |= {"ejected": False, "priority": 0, "locality": ""}
        counts = {"active": 1, "total": 7, "errors": 2}
        down = {**endpoint, "address": "127.1.0.2:9090", "healthy": False}
        out = {**down, "address": "127.1.0.3:9090", "ejected": True, "priority": 1}
        return [{"name": "c", "endpoints": [{**one, **counts} for one in (endpoint, down, out)]}]

    def listener_errors(self) -> list[tuple[str, str]]:
        return list(self.errors)

    def stats(self) -> dict[str, int | float]:
        return {"listener.127.0.0.1_9090.downstream_cx_active": 3, "cluster.c.upstream_rq": 0}

    def prometheus(self) -> bytes:
        return b"istio_requests_total 5\n"

    def set_log_level(self, level: str) -> None:
        self.level = level


class KnownClient:
    """What the xDS client holds."""

    def __init__(self, *held: tuple[str, Resource]) -> None:
        self.held = held
        self.awaited: tuple[str, ...] = ()

    def resources(self, type_url: str) -> dict[str, Accepted]:
        return {
            found.name: Accepted(found, 1_700_000_000.5)
            for url, found in self.held
            if url == type_url
        }

    def types(self) -> Mapping[str, TypeStatus]:
        return {
            url: TypeStatus("7", 1, self.awaited, (), None) for url in {url for url, _ in self.held}
        }


def made(type_url: str, name: str, **fields: Any) -> tuple[str, Resource]:
    key = "cluster_name" if type_url == messages.ENDPOINT else "name"
    value = messages.from_json(type_url.partition("/")[2], {key: name, **fields})
    return type_url, messages.resource(name, value)


class Api:
    """The API and what is behind it."""

    def __init__(self) -> None:
        self.engine = KnownEngine()
        self.holdings = Holdings()
        self.client = KnownClient(
            made(messages.LISTENER, "l"),
            made(messages.CLUSTER, "c"),
            made(messages.ENDPOINT, "c"),
            made(
                messages.ROUTE,
                "host_9090",
                virtual_hosts=[
                    {"name": "dummy", "domains": ["*"], "routes": [{"match": {"prefix": "/"}}]}
                ],
            ),
        )
        self.holdings.in_force = self.client
        self.state = "LIVE"
        self.quits = 0
        self.handler: Handler = Admin(
            self.engine, self.holdings, NODE, lambda: self.state, self._quit, lambda: True
        ).handler()

    def _quit(self) -> None:
        self.quits += 1

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        path, _, query = path.partition("?")
        pairs = dict(part.partition("=")[::2] for part in query.split("&") if part)
        given = {"host": "127.1.2.3:15000", **headers}
        try:
            return await self.handler(Request(method, path, pairs, given))
        except HttpError as error:
            return Response(error.message.encode(), error.status)

    async def json(self, path: str) -> Any:
        response = await self.ask(path)
        assert response.status == 200, response.body
        return json.loads(response.body)


@pytest.fixture
def api() -> Iterator[Api]:
    before = logging.getLogger("meltemi").level
    yield Api()
    logging.getLogger("meltemi").setLevel(before)


async def test_the_dump_has_envoys_kinds_in_envoys_order(api: Api) -> None:
    kinds = [config["@type"] for config in (await api.json("/config_dump"))["configs"]]
    assert kinds == [
        ADMIN + "BootstrapConfigDump",
        ADMIN + "ClustersConfigDump",
        ADMIN + "EcdsConfigDump",
        ADMIN + "ListenersConfigDump",
        "type.googleapis.com/aeraki.meta_protocol_proxy.admin.v1alpha.RoutesConfigDump",
        ADMIN + "RoutesConfigDump",
    ]
    with_eds = (await api.json("/config_dump?include_eds"))["configs"]
    assert with_eds[3]["@type"] == ADMIN + "EndpointsConfigDump"


async def test_the_dump_can_be_read_as_envoys_own_messages(api: Api) -> None:
    for config in (await api.json("/config_dump?include_eds"))["configs"]:
        kind = config["@type"].partition("/")[2]
        messages.from_json(kind, {key: value for key, value in config.items() if key != "@type"})


async def test_a_listener_that_is_not_open_says_why_in_the_dump(api: Api) -> None:
    [listener] = (await api.json("/config_dump?resource=dynamic_listeners"))["configs"]
    assert "error_state" not in listener
    api.engine.errors = [(listener["name"], "cannot listen on 127.0.0.1:9090: taken")]
    [listener] = (await api.json("/config_dump?resource=dynamic_listeners"))["configs"]
    assert listener["error_state"] == {"details": "cannot listen on 127.0.0.1:9090: taken"}
    assert "active_state" in listener


async def test_each_resource_has_its_version_and_time(api: Api) -> None:
    configs = (await api.json("/config_dump?include_eds"))["configs"]
    [listener] = configs[4]["dynamic_listeners"]
    states = [
        *configs[1]["dynamic_active_clusters"],
        *configs[3]["dynamic_endpoint_configs"],
        listener["active_state"],
        *configs[5]["dynamic_route_configs"],
        *configs[6]["dynamic_route_configs"],
    ]
    assert len(states) == 5
    versions = {found.version for _, found in api.client.held}
    assert {state["version_info"] for state in states} <= versions
    assert {state["last_updated"] for state in states} == {"2023-11-14T22:13:20.500Z"}


async def test_a_refused_resource_is_shown_with_its_reason_beside_what_is_in_force(
    api: Api,
) -> None:
    body = made(messages.CLUSTER, "c", lb_policy="RANDOM")[1].body
    api.holdings.note(messages.CLUSTER, "8", [("c", body)], [], [("c", "no such policy")], 0.0)
    [cluster] = (await api.json("/config_dump"))["configs"][1]["dynamic_active_clusters"]
    assert "lb_policy" not in cluster["cluster"]
    assert cluster["error_state"]["details"] == "no such policy"
    assert cluster["error_state"]["failed_configuration"]["lb_policy"] == "RANDOM"
    stats = {s["name"]: s["value"] for s in (await api.json("/stats?format=json"))["stats"]}
    assert stats["cluster_manager.cds.update_rejected"] == 1
    api.holdings.note(messages.CLUSTER, "9", [("c", body)], [], [], 0.0)
    [cluster] = (await api.json("/config_dump"))["configs"][1]["dynamic_active_clusters"]
    assert "error_state" not in cluster


async def test_one_list_of_the_dump_can_be_asked_for(api: Api) -> None:
    found = (await api.json("/config_dump?resource=dynamic_endpoint_configs"))["configs"]
    assert [each["endpoint_config"]["cluster_name"] for each in found] == ["c"]
    assert (await api.ask("/config_dump?resource=nonsense")).status == 404


async def test_clusters_are_shown_as_text_and_as_envoys_json(api: Api) -> None:
    lines = (await api.ask("/clusters")).body.decode().splitlines()
    assert "c::127.1.0.1:9090::rq_active::1" in lines
    assert "c::127.1.0.2:9090::health_flags::/failed_eds_health" in lines
    assert "c::127.1.0.3:9090::health_flags::/failed_outlier_check" in lines
    assert "c::127.1.0.3:9090::priority::1" in lines
    found = await api.json("/clusters?format=json")
    messages.from_json("envoy.admin.v3.Clusters", found)
    ejected = found["cluster_statuses"][0]["host_statuses"][2]["health_status"]
    assert ejected == {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
    host = found["cluster_statuses"][0]["host_statuses"][0]
    assert host["address"]["socket_address"] == {"address": "127.1.0.1", "port_value": 9090}


async def test_stats_are_filtered_by_parts_of_names_and_by_use(api: Api) -> None:
    text = (await api.ask("/stats?filter=listener.*cx_active")).body.decode()
    assert text == "listener.127.0.0.1_9090.downstream_cx_active: 3\n"
    assert b"upstream_rq" in (await api.ask("/stats")).body
    assert b"upstream_rq" not in (await api.ask("/stats?usedonly")).body
    metrics = (await api.ask("/stats/prometheus")).body.decode()
    assert "istio_requests_total 5\n" in metrics
    assert "envoy_control_plane_connected_state 1\n" in metrics
    assert (await api.ask("/stats?format=prometheus")).body.decode().count("istio_requests") == 1


@pytest.mark.parametrize(
    ("state", "status"), [("LIVE", 200), ("PRE_INITIALIZING", 503), ("DRAINING", 503)]
)
async def test_ready_says_the_state(api: Api, state: str, status: int) -> None:
    api.state = state
    response = await api.ask("/ready")
    assert (response.status, response.body.decode()) == (status, f"{state}\n")


async def test_the_log_level_is_changed_by_post_only(api: Api) -> None:
    assert (await api.ask("/logging?level=debug")).status == 405
    assert api.engine.level == "info"
    response = await api.ask("/logging?level=debug", "POST")
    assert (response.status, api.engine.level) == (200, "debug")
    assert b"debug" in response.body
    assert (await api.ask("/logging?level=nonsense", "POST")).status == 400


async def test_the_end_is_asked_for_by_post_only(api: Api) -> None:
    assert (await api.ask("/quitquitquit")).status == 405
    assert api.quits == 0
    assert (await api.ask("/quitquitquit", "POST")).status == 200
    assert api.quits == 1


async def test_a_web_page_reaches_nothing(api: Api) -> None:
    for path in ("/config_dump", "/stats", "/ready"):
        assert (await api.ask(path, host="rebound.example")).status == 403
    for headers in ({"origin": "http://page.example"}, {"host": "rebound.example"}):
        assert (await api.ask("/quitquitquit", "POST", **headers)).status == 403
    assert api.quits == 0

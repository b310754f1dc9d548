"""`meltemi proxy`: what the proxy of a running workload holds, a sidecar or the Envoy of a gateway,
asked at its admin API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from meltemi.cli.client import (
    MeshClient,
    mesh_directory,
    mesh_option,
    namespace_option,
    read_processes,
)
from meltemi.cli.errors import UNREACHABLE, Failure
from meltemi.cli.table import table

ADMIN_PORT = 15000
OK, NOT_FOUND = 200, 404
ANSWER_S = 10.0
META_PROTOCOL_FILTER = "envoy.filters.network.meta_protocol_proxy"
HTTP_FILTER = "envoy.filters.network.http_connection_manager"
LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")

_INSTEAD = (
    "Its client asks by itself: `meltemi status` shows what that took, "
    "`meltemi dump-xds --config DIR --node {0}` what it is told, "
    "`meltemi explain SERVICE --from {0}` where its calls go."
)

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


@click.group()
def proxy() -> None:
    """Show what the proxy of WORKLOAD (NAME[-ORDINAL][.NAMESPACE]) holds.

    That is its sidecar, or the Envoy that a gateway is."""


def _of_workload(command: AnyCommand) -> AnyCommand:
    """Adds the argument WORKLOAD, `-n` and `--mesh`."""
    return click.argument("workload")(namespace_option(mesh_option(command)))


def _json_output(command: AnyCommand) -> AnyCommand:
    """Adds `-o json` to a command that prints nothing else, so that scripts may always give it."""
    option = click.option(
        "-o", "--output", type=click.Choice(["json"]), default="json", show_default=True
    )
    return option(command)


@proxy.command()
@_of_workload
@_json_output
def config(workload: str, namespace: str, mesh: Path | None, output: str) -> None:
    """Show the MetaProtocol filters of its listeners, as JSON; of a gateway the HTTP filters."""
    proxy = _proxy(workload, namespace, mesh)
    if proxy.is_gateway:
        dump = {"configs": [{"dynamic_listeners": proxy.resources("dynamic_listeners")}]}
        _print_json(network_filters(dump, HTTP_FILTER))
    else:
        _print_json(network_filters(proxy.json("/config_dump"), META_PROTOCOL_FILTER))


@proxy.command()
@_of_workload
@_json_output
def routes(workload: str, namespace: str, mesh: Path | None, output: str) -> None:
    """Show its MetaProtocol routes, with versions and times, as JSON; HTTP's of a gateway."""
    proxy = _proxy(workload, namespace, mesh)
    if proxy.is_gateway:
        found = proxy.resources("dynamic_route_configs")
        _print_json({"dynamic_route_configs": found})
    else:
        _print_json(meta_protocol_routes(proxy.json("/config_dump")))


@proxy.command()
@_of_workload
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def clusters(workload: str, namespace: str, mesh: Path | None, output: str) -> None:
    """Show its clusters and their endpoints: health, requests in flight and so far."""
    found = _proxy(workload, namespace, mesh).json("/clusters?format=json")
    if output == "json":
        _print_json(found)
        return
    header = ("CLUSTER", "ENDPOINT", "HEALTH", "WEIGHT", "ACTIVE", "TOTAL", "ERRORS")
    click.echo(table(header, _cluster_rows(found)))


@proxy.command()
@_of_workload
@click.option("--filter", "wanted", default="", help="Only names with this text; .* is anything.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "prometheus"]), default="text")
def stats(workload: str, namespace: str, mesh: Path | None, wanted: str, output: str) -> None:
    """Show its counters."""
    proxy = _proxy(workload, namespace, mesh)
    response = proxy.send("GET", "/stats", {"format": output, "filter": wanted})
    click.echo(response.text, nl=False)


@proxy.command("log-level")
@_of_workload
@click.argument("level", required=False, type=click.Choice(LEVELS))
def log_level(workload: str, namespace: str, mesh: Path | None, level: str | None) -> None:
    """Show its log level, or set it to LEVEL until it starts again."""
    query = {"level": level} if level is not None else {}
    response = _proxy(workload, namespace, mesh).send("POST", "/logging", query)
    click.echo(response.text, nl=False)


def network_filters(dump: dict[str, Any], wanted: str) -> list[dict[str, Any]]:
    """The network filters of that name in a config dump, in the order of the listeners."""
    listeners = [
        listener["active_state"]["listener"]
        for config in dump["configs"]
        for listener in config.get("dynamic_listeners", [])
        if "active_state" in listener
    ]
    return [
        {"name": found["name"], "typed_config": found["typed_config"]}
        for listener in listeners
        for chain in listener.get("filter_chains", [])
        for found in chain.get("filters", [])
        if found["name"] == wanted
    ]


def meta_protocol_routes(dump: dict[str, Any]) -> dict[str, Any]:
    """MetaProtocol Proxy's RoutesConfigDump of a config dump."""
    for config in dump["configs"]:
        if "meta_protocol_proxy" in config["@type"]:
            found = config.get("dynamic_route_configs", [])
            return {"dynamic_route_configs": [route for route in found if "route_config" in route]}
    return {"dynamic_route_configs": []}


def _health(status: dict[str, Any]) -> str:
    """What the sidecar found itself comes before what it was told."""
    ejected = status.get("failed_outlier_check", False)
    return "ejected" if ejected else str(status["eds_health_status"]).lower()


def _cluster_rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for cluster in found["cluster_statuses"]:
        hosts = cluster.get("host_statuses", ())
        if not hosts:
            rows.append((cluster["name"], "(no endpoints)", "", "", "", "", ""))
        for host in hosts:
            # Envoy leaves out what is 0.
            stats = {stat["name"]: stat.get("value", 0) for stat in host["stats"]}
            rows.append(
                (
                    cluster["name"],
                    _address(host["address"]),
                    _health(host["health_status"]),
                    host["weight"],
                    stats["rq_active"],
                    stats["rq_total"],
                    stats["rq_error"],
                )
            )
    return rows


def _address(address: dict[str, Any]) -> str:
    socket = address.get("socket_address")
    return f"{socket['address']}:{socket['port_value']}" if socket else address["pipe"]["path"]


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


class _Proxy:
    """The admin API of one proxy."""

    def __init__(self, name: str, address: str, *, is_gateway: bool) -> None:
        self._name, self._address = name, address
        self.is_gateway = is_gateway

    @property
    def _what(self) -> str:
        return f"the {'gateway' if self.is_gateway else 'sidecar of'} {self._name}"

    def json(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.send("GET", path).json()
        return answer

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """One kind of those that Envoy has from the control plane, without their `@type`."""
        response = self.send("GET", "/config_dump", {"resource": kind}, missing=True)
        found = response.json().get("configs", []) if response.status_code == OK else []
        return [{name: each[name] for name in each if name != "@type"} for each in found]

    def send(
        self, method: str, path: str, query: dict[str, str] | None = None, missing: bool = False
    ) -> Any:
        """Raises Failure: unreachable, or what the proxy says; with `missing` not for a 404, which
        Envoy answers where there is nothing of a kind."""
        import httpx

        url = f"http://{self._address}:{ADMIN_PORT}{path}"
        try:
            with httpx.Client(timeout=ANSWER_S, trust_env=False) as client:
                response = client.request(method, url, params=query)
        except httpx.HTTPError as error:
            logs = f"meltemi logs {'' if self.is_gateway else '--sidecar '}{self._name}"
            raise Failure(
                f"{self._what} does not answer at {self._address}:{ADMIN_PORT}",
                f"See `meltemi status` and `{logs}`.",
                UNREACHABLE,
            ) from error
        if response.status_code != OK and not (missing and response.status_code == NOT_FOUND):
            raise Failure(self._error_of(response), f"asked {url}")
        return response

    def _error_of(self, response: Any) -> str:
        try:
            return str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            return f"{self._what} answered {response.status_code}"


def _proxy(workload: str, namespace: str, mesh: Path | None) -> _Proxy:
    """The proxy of the one replica that `workload` means. Raises Failure."""
    found = _workloads(mesh_directory(mesh))
    name, wanted_namespace = place(workload, namespace)
    matching = [
        (each, instance)
        for each in found
        for instance in each["instances"]
        if each["namespace"] == wanted_namespace and name in (each["name"], instance["pod"])
    ]
    if not matching:
        raise _not_found(found, name, wanted_namespace)
    if len(matching) > 1:
        pods = ", ".join(f"{instance['pod']}.{wanted_namespace}" for _, instance in matching)
        raise Failure(f"{name} has several replicas: {pods}", "Name one of them.")
    owner, instance = matching[0]
    full = f"{instance['pod']}.{wanted_namespace}"
    if owner["mode"] not in ("sidecar", "gateway"):
        raise Failure(
            f"{full} has no sidecar: its mesh mode is {owner['mode']}",
            _INSTEAD.format(full) if owner["mode"] == "proxyless" else "",
        )
    return _Proxy(full, instance["address"], is_gateway=owner["mode"] == "gateway")


def sidecars(mesh: Path | None) -> Iterator[_Proxy]:
    """Of every replica that has one. Raises Failure."""
    for each in _workloads(mesh_directory(mesh)):
        if each["mode"] == "sidecar":
            for instance in each["instances"]:
                name = f"{instance['pod']}.{each['namespace']}"
                yield _Proxy(name, instance["address"], is_gateway=False)


def _workloads(directory: Path) -> list[dict[str, Any]]:
    """As the control plane knows them; while it is away, as `up` runs them."""
    try:
        found: list[dict[str, Any]] = MeshClient(directory).read("/v1/workloads")["workloads"]
        return found
    except Failure:
        running = [p for p in read_processes(directory).get("processes", []) if "node" in p]
        if not running:
            raise
    # A workload without a proxy has no process of that kind, and is not found here.
    return [
        {
            "name": process["workload"],
            "namespace": process["namespace"],
            "mode": process.get("mode", "sidecar"),
            "instances": [{"pod": process["name"].split(".")[0], "address": process["address"]}],
        }
        for process in running
        if process["name"].endswith(" sidecar") or process.get("mode") == "gateway"
    ]


def place(workload: str, namespace: str) -> tuple[str, str]:
    """`NAME[-ORDINAL][.NAMESPACE]` -> (NAME or POD, namespace)."""
    name, dot, own = workload.partition(".")
    return name, own if dot else namespace


def _not_found(found: list[dict[str, Any]], name: str, namespace: str) -> Failure:
    there = sorted(f"{each['name']}.{each['namespace']}" for each in found)
    hint = f"Workloads of this mesh: {', '.join(there)}." if there else "This mesh has none."
    return Failure(f"there is no workload {name} in namespace {namespace}", hint)

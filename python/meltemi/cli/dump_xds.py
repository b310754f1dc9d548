"""`meltemi dump-xds`: the resources that a node would get, from files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from meltemi.cli.errors import Failure

CLIENTS = ("sidecar", "sdk", "envoy", "grpc", "kitex")


@click.command()
@click.option(
    "--config",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory with the mesh's YAML files.",
)
@click.option("--node", required=True, metavar="ID", help="A node id, or POD.NAMESPACE.")
@click.option(
    "--client",
    type=click.Choice(CLIENTS),
    help="What asks (default: what the workload's mesh mode says).",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Where none is said.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def dump_xds(directory: Path, node: str, client: str | None, namespace: str, output: str) -> None:
    """Show offline what a node would get: listeners, routes, clusters and endpoints by name.

    Exit status: 0 done, 1 a document is not valid (the rest is shown) or there is no such node."""
    from meltemi.analysis import dump
    from meltemi.analysis.places import UnknownNameError, replica
    from meltemi.cli.offline import offline
    from meltemi.xds.resource import Client

    found = offline(directory, namespace)
    try:
        place = replica(found.mesh, node, namespace)
    except UnknownNameError as error:
        raise Failure(str(error), error.hint) from error
    shown = dump.resources(found.mesh, place, Client(client) if client else place.client)
    if output == "json":
        click.echo(json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(_summary(shown))
    found.end()


def _summary(shown: dict[str, dict[str, Any]]) -> str:
    from meltemi.cli.table import table

    rows = [
        (section, name, _what(section, resource))
        for section, named in shown.items()
        for name, resource in named.items()
    ]
    return table(("TYPE", "NAME", "WHAT"), rows)


def _what(section: str, resource: dict[str, Any]) -> str:
    """What is worth knowing of a resource at a glance; `-o json` has all of it."""
    match section:
        case "listeners":
            if "apiListener" in resource:
                manager = resource["apiListener"]["apiListener"]
                return f"by name, routes {manager['rds']['routeConfigName']}"
            return f"{_listens(resource)}{_left_out(resource)}"
        case "routes":
            hosts = resource["virtualHosts"]
            if len(hosts) > 1:
                return "of " + ", ".join(domain for host in hosts for domain in host["domains"])
            routes = hosts[0].get("routes", ())
            more = f" and {len(routes) - 5} more" if len(routes) > 5 else ""
            names = ", ".join(route.get("name", "-") for route in routes[:5])
            return f"{names}{more}{_left_out(resource)}"
        case "clusters":
            return f"{resource.get('type', 'STATIC')} {resource.get('lbPolicy', 'ROUND_ROBIN')}"
        case "extensions":
            return str(resource["typedConfig"]["@type"]).rpartition(".")[2]
        case "names":
            return ", ".join(resource["ips"])
        case _:
            addresses = [
                _address(each["endpoint"]["address"])
                for locality in resource.get("endpoints", ())
                for each in locality["lbEndpoints"]
            ]
            return ", ".join(addresses[:5]) or "none"


def _listens(listener: dict[str, Any]) -> str:
    chains = listener.get("filterChains", ())
    found: dict[str, Any] = chains[0]["filters"][0] if chains else {"name": "none"}
    kind = str(found["name"]).rpartition(".")[2]
    rds = found.get("typedConfig", {}).get("rds", {})
    if rds and "trafficDirection" not in listener:
        return f"{kind}, routes {rds['routeConfigName']}"
    return f"{listener.get('trafficDirection', 'INBOUND').lower()} {kind}"


def _left_out(resource: dict[str, Any]) -> str:
    ours = resource.get("metadata", {}).get("filterMetadata", {}).get("meltemi", {})
    return "".join(f", leaves out {reason}" for reason in ours.get("left_out", ()))


def _address(address: dict[str, Any]) -> str:
    socket = address.get("socketAddress")
    return f"{socket['address']}:{socket['portValue']}" if socket else address["pipe"]["path"]

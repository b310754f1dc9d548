"""`meltemi status`: processes and nodes of the running mesh, and what is wrong with its files."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import click

from meltemi.cli.client import MeshClient, mesh_directory, mesh_option, read_processes
from meltemi.cli.errors import UNREACHABLE, Failure
from meltemi.cli.pushed import print_issues
from meltemi.cli.table import count, printable, table
from meltemi.cli.traces import traces_go_to
from meltemi.cli.unbound import unbound_listeners


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@mesh_option
def status(output: str, mesh: Path | None) -> None:
    """Show each process, each node with what it acknowledged or refused, and each issue.

    Listeners that cannot be opened are named with the reason."""
    directory = mesh_directory(mesh)
    processes = read_processes(directory)
    closed = unbound_listeners(processes.get("processes", []))
    for process in processes.get("processes", []):
        if process["name"] in closed:
            process["unbound"] = closed[process["name"]]
    try:
        found = MeshClient(directory).read("/v1/status")
    except Failure as failure:
        if not processes:
            raise
        _print({"directory": str(directory), "control_plane": None}, processes, output)
        raise Failure(failure.message, "What runs goes on with what it has.", UNREACHABLE) from None
    _print(found, processes, output)


def _print(found: dict[str, Any], processes: dict[str, Any], output: str) -> None:
    if output == "json":
        everything = {
            **found,
            "traces": processes.get("traces"),
            "processes": processes.get("processes", []),
        }
        click.echo(json.dumps(everything, indent=2, ensure_ascii=False))
        return
    click.echo(f"mesh {found['directory']}")
    control_plane = found["control_plane"]
    if control_plane is not None:
        click.echo(
            f"control plane: pid {control_plane['pid']}, xDS {found['xds']}, "
            f"admin {found['admin']}, {count(found['objects'], 'object')}"
        )
    if processes:
        click.echo(f"traces: {printable(traces_go_to(processes))}")
        _print_processes(processes)
    if control_plane is not None:
        _print_nodes(found["nodes"])
        if found["issues"]:
            click.echo("\nIssues of the configuration:")
            print_issues(found["issues"], err=False)


def _print_processes(processes: dict[str, Any]) -> None:
    rows = [
        (
            process["name"],
            process["pid"] or process.get("problem") or "down",
            process.get("address"),
            process["restarts"],
            _age(process.get("started_at")) if process["pid"] else "",
        )
        for process in processes.get("processes", [])
    ]
    click.echo("\n" + table(("PROCESS", "PID", "ADDRESS", "RESTARTS", "AGE"), rows))
    for process in processes.get("processes", []):
        for listener in process.get("unbound", []):
            what = f"{process['name']}: listener {listener['name']}: {listener['reason']}"
            click.echo(printable(what))


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    if not nodes:
        click.echo("\nNo node is connected.")
        return
    rows = [
        (
            node["id"],
            node["client"],
            "yes" if node["workload"] else "no",
            _age(node["connected_at"]),
            _state(node),
        )
        for node in nodes
    ]
    click.echo("\n" + table(("NODE", "CLIENT", "WORKLOAD", "CONNECTED", "CONFIG"), rows))
    for node in nodes:
        for type_name, found in node["types"].items():
            for refusal in found["refused"]:
                what = f"{type_name} {refusal['name']}".rstrip()
                click.echo(printable(f"{node['id']} refused {what}: {refusal['reason']}"))


def _state(node: dict[str, Any]) -> str:
    refused = sum(len(found["refused"]) for found in node["types"].values())
    if refused:
        return f"{refused} refused"
    late = [name for name, found in node["types"].items() if found["sent"] != found["acknowledged"]]
    return f"waits for {', '.join(late)}" if late else "acknowledged"


def _age(since: str | float | None) -> str:
    """How long ago: `12s`, `3m`, `5h`, `2d`."""
    if since is None:
        return ""
    if isinstance(since, str):
        since = datetime.datetime.fromisoformat(since).timestamp()
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"

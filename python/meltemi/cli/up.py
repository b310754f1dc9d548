"""`meltemi up`: the whole mesh of a directory on this machine."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltemi.cli.engine_options import (
    access_log_format_option,
    check_engine_options,
    limit_option,
)
from meltemi.cli.errors import Failure

if TYPE_CHECKING:
    from meltemi.local.guardian import Guardian
    from meltemi.local.state import State
    from meltemi.local.up import Options


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@access_log_format_option("the sidecars")
@limit_option("--sidecar-limit", "every sidecar")
@click.option("--require-token", is_flag=True, help="Answer only xDS nodes of this mesh.")
def up(
    directory: Path,
    access_log_format: str,
    limits: tuple[tuple[str, int], ...],
    require_token: bool,
) -> None:
    """Run the mesh of DIR on this machine until Ctrl-C.

    Starts a control plane, a sidecar for each workload that asks for one, and the workloads;
    watches DIR, and moves traffic as its files change. State is kept in DIR/.meltemi."""
    from meltemi.local.guardian import Guardian
    from meltemi.local.up import Options

    if not directory.is_dir():
        raise Failure(f"{directory} is not a directory", "Name the directory of the mesh's files.")
    guardian = Guardian()  # before there is a thread, a lock or a socket
    check_engine_options(access_log_format, dict(limits), "--sidecar-limit")
    _run(directory, Options(access_log_format, require_token, dict(limits)), guardian)


def _run(directory: Path, options: Options, guardian: Guardian) -> None:
    from meltemi.controlplane.state import StateError
    from meltemi.local.state import State
    from meltemi.local.subnet import NoSubnet, Subnet
    from meltemi.local.up import Up

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.raiseExceptions = False  # where the terminal was closed, nobody reads a traceback
    logging.getLogger("httpx").setLevel(logging.WARNING)
    state = State(directory.resolve())
    _take(state, directory)
    try:
        subnet = Subnet.take(state.directory, state.read("mesh.json").get("subnet"))
    except NoSubnet as error:
        raise Failure(str(error), "Stop a mesh that is not needed.") from None
    state.write("mesh.json", {"subnet": subnet.prefix})
    try:
        mesh = Up(state, subnet, options, lambda workloads: _table(state, workloads), guardian)
        asyncio.run(mesh.run())
    except StateError as error:
        raise Failure(str(error), error.hint) from None
    finally:
        subnet.close()
        state.release()


def _take(state: State, directory: Path) -> None:
    from meltemi.local.state import AlreadyRunning

    try:
        state.take()
    except AlreadyRunning as running:
        raise Failure(
            f"the mesh of {directory} runs already (pid {running})",
            "Stop it with Ctrl-C in its terminal, or look at it with `meltemi status`.",
        ) from None
    except OSError as error:
        raise Failure(
            f"cannot keep state in {state.root}: {error.strerror}",
            "It must be a folder that this user owns, on a disk with space.",
        ) from None


def _table(state: State, workloads: list[dict[str, Any]]) -> None:
    """Prints what listens where, and what each workload calls its services at."""
    from meltemi.cli.table import table
    from meltemi.cli.traces import traces_go_to

    instances = [(w, i) for w in workloads for i in w["instances"]]
    rows = [
        (f"{i['pod']}.{w['namespace']}", i["address"], w["mode"], _ports(w["ports"]))
        for w, i in instances
    ]
    click.echo("\n" + table(("WORKLOAD", "ADDRESS", "MESH", "PORTS"), rows))
    calls = [
        (f"{i['pod']}.{w['namespace']}", address, host)
        for w, i in instances
        for host, address in i["service_addresses"]
    ]
    if calls:
        click.echo("\n" + table(("CALLER", "CALLS AT", "SERVICE"), calls))
    control_plane = state.read("control-plane.json")
    xds, admin = control_plane.get("xds", "?"), control_plane.get("admin", "?")
    traces = traces_go_to(state.read("processes.json"))
    where = f"xDS {xds}, admin {admin}, traces {traces}, state {state.root}"
    click.echo(f"\n{where}; Ctrl-C stops all")


def _ports(ports: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{p['port']}" + (f" (127.0.0.1:{p['host_port']})" if p.get("host_port") else "")
        for p in ports
    )

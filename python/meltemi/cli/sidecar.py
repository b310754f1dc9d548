"""`meltemi sidecar`: one sidecar alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meltemi.cli.engine_options import (
    access_log_format_option,
    check_engine_options,
    limit_option,
)
from meltemi.cli.errors import Failure

if TYPE_CHECKING:
    from meltemi.controlplane.state import StateFolder
    from meltemi.secret import Secret
    from meltemi.sidecar.node import SidecarNode
    from meltemi.sidecar.process import Options

ADMIN_PORT = 15000
TOKEN_VARIABLE = "MELTEMI_XDS_TOKEN"


@click.command()
@click.option("--xds", required=True, metavar="HOST:PORT", help="Address of the xDS server.")
@click.option("--node", required=True, metavar="ID", help="Node id, or POD.NAMESPACE.")
@click.option(
    "--instance-ip",
    envvar="INSTANCE_IP",
    help="The instance's address, where --node does not say it (also $INSTANCE_IP). Default: "
    "that of the mesh that runs here and serves --xds, else 127.0.0.1.",
)
@click.option(
    "--admin-address", metavar="HOST:PORT", help="Default: the instance's address, :15000."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"File with the node's token (default: ${TOKEN_VARIABLE}).",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Label of the workload, for metrics: app, version. May be repeated.",
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--access-log", metavar="PATH|-", help="A line a request; - is standard output.")
@access_log_format_option("the access log")
@limit_option("--limit", "the engine")
@click.option(
    "--drain-time",
    type=click.FloatRange(0, 3600),
    default=5.0,
    show_default=True,
    help="Seconds that requests in flight have to finish when it is stopped.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option("--insecure", is_flag=True, help="Let the admin API be reached from other machines.")
def sidecar(
    xds: str,
    node: str,
    instance_ip: str | None,
    admin_address: str | None,
    token_file: Path | None,
    labels: tuple[str, ...],
    workers: int,
    access_log: str | None,
    access_log_format: str,
    limits: tuple[tuple[str, int], ...],
    drain_time: float,
    log_level: str,
    insecure: bool,
) -> None:
    """Run one sidecar until SIGTERM, which lets requests in flight finish.

    It waits for an xDS server that is not there, and keeps what it has when that goes."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines; ours say what happens
    from meltemi.admin.guard import RefusedAddress, check_bind
    from meltemi.admin.logs import start_log
    from meltemi.admin.sockets import written

    start_log(log_level)
    found = _node(node, instance_ip or _address_here(xds, node), labels)
    admin = admin_address or written(found.address, ADMIN_PORT)
    _address(xds, "--xds")
    try:
        check_bind(_address(admin, "--admin-address")[0], insecure)
    except RefusedAddress as error:
        raise Failure(str(error), "Take an address of loopback, or say --insecure.") from error
    check_engine_options(access_log_format, dict(limits), "--limit")
    from meltemi.sidecar.process import Options

    options = Options(
        xds=xds,
        node=found,
        admin=admin,
        token=_token(token_file) or _token_here(xds, found),
        workers=workers,
        access_log=access_log,
        access_log_format=access_log_format,
        drain_s=drain_time,
        limits=dict(limits),
    )
    _run(options)


def _run(options: Options) -> None:
    import asyncio

    from meltemi.sidecar.process import NoAddress, Sidecar

    async def life() -> None:
        await Sidecar(options).run()

    try:
        asyncio.run(life())
    except NoAddress as error:
        hint = "Another sidecar may run there; --admin-address takes another one."
        raise Failure(str(error), hint) from error
    except (OSError, ValueError) as error:  # what the engine cannot be started with
        raise Failure(str(error)) from error


def _address(address: str, option: str) -> tuple[str, int]:
    from meltemi.admin.guard import split_address

    try:
        return split_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _mesh_here(xds: str) -> StateFolder | None:
    """The mesh of this user and machine that serves `xds`."""
    from meltemi.controlplane import ports, registry
    from meltemi.controlplane.state import StateFolder

    for directory in registry.entries():
        state = StateFolder(directory)
        listening = ports.read(state.control_plane)
        if listening is not None and listening.xds == xds:
            return state
    return None


def _address_here(xds: str, node: str) -> str:
    """The address that the mesh here gave to `POD.NAMESPACE`; else one that every machine has."""
    from meltemi.controlplane import addresses

    state = _mesh_here(xds) if "~" not in node else None
    pod, _, namespace = node.partition(".")
    taken = addresses.read(state.addresses).taken if state is not None else {}
    return taken.get(f"instance/{namespace}/{pod}", "127.0.0.1")


def _token_here(xds: str, node: SidecarNode) -> Secret | None:
    """The token of a node of the mesh here, which belongs to the same user."""
    from meltemi.controlplane.state import StateError
    from meltemi.controlplane.tokens import Tokens

    state = _mesh_here(xds)
    if state is None:
        return None
    try:
        return Tokens.open(state.path).token(node.id)
    except StateError as error:
        raise Failure(str(error), error.hint) from error


def _node(node: str, instance_ip: str, labels: tuple[str, ...]) -> SidecarNode:
    from meltemi.sidecar.node import BadNode, parse_node

    pairs = [label.partition("=") for label in labels]
    if wrong := [key for key, equals, _ in pairs if not equals or not key]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE", param_hint="--label")
    try:
        return parse_node(node, instance_ip, {key: value for key, _, value in pairs})
    except BadNode as error:
        raise click.BadParameter(str(error), param_hint="--node") from error


def _token(file: Path | None) -> Secret | None:
    from meltemi.secret import Secret

    if file is None:
        found = os.environ.pop(TOKEN_VARIABLE, "")  # not for what this process may start
        return Secret(found) if found else None
    try:
        found = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read the token in {file}: {error}") from error
    if not found:
        raise Failure(f"{file} is empty", "It holds the token that the control plane knows.")
    return Secret(found)

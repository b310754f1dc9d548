"""`meltemi control-plane`: the xDS server alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meltemi.cli.errors import Failure

if TYPE_CHECKING:
    from meltemi.controlplane.ports import Addresses
    from meltemi.controlplane.process import Options


@click.command("control-plane")
@click.option(
    "--config",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory of the mesh's YAML files; state is kept in DIR/.meltemi.",
)
@click.option(
    "--xds-address",
    metavar="HOST:PORT",
    help="Default: 127.0.0.1:15010, or the next free port.",
)
@click.option(
    "--admin-address",
    metavar="HOST:PORT",
    help="Default: 127.0.0.1:15014, or the next free port.",
)
@click.option("--subnet", metavar="127.N", help="Range of the mesh's addresses, 127.N.0.0/16.")
@click.option("--require-token", is_flag=True, help="Answer no node without the token of its id.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen on addresses that other machines can reach, without TLS.",
)
def control_plane(
    directory: Path,
    xds_address: str | None,
    admin_address: str | None,
    subnet: str | None,
    require_token: bool,
    log_level: str,
    insecure: bool,
) -> None:
    """Serve the mesh of DIR over xDS until SIGTERM; watch DIR and take what is applied."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines; ours say what happens
    from meltemi.admin.logs import start_log
    from meltemi.controlplane.process import Options

    start_log(log_level)
    options = Options(
        directory=directory,
        xds_address=xds_address,
        admin_address=admin_address,
        subnet=subnet,
        require_token=require_token,
        insecure=insecure,
    )
    _run(options)


def _run(options: Options) -> None:
    import asyncio

    from meltemi.admin.guard import RefusedAddress
    from meltemi.config.files import SourceError
    from meltemi.controlplane.ports import NoAddress
    from meltemi.controlplane.process import ControlPlane
    from meltemi.controlplane.state import StateError

    async def life() -> None:
        await ControlPlane(options, lambda where: _announce(options, where)).run()

    try:
        asyncio.run(life())
    except RefusedAddress as error:
        raise Failure(str(error), "Take an address of loopback, or say --insecure.") from error
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    except SourceError as error:
        raise Failure(error.message, error.hint) from error
    except StateError as error:
        raise Failure(str(error), error.hint) from error
    except NoAddress as error:
        raise Failure(str(error), "Give other ones: --xds-address, --admin-address.") from error


def _announce(options: Options, where: Addresses) -> None:
    click.echo(f"xDS {where.xds}, admin {where.admin}, mesh {options.directory.resolve()}")

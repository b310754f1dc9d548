"""`meltemi delete`: drops an object that was applied."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from meltemi.cli.client import MeshClient, mesh_option, namespace_option
from meltemi.cli.kinds import KindArgument
from meltemi.cli.pushed import report


@click.command()
@click.argument("kind", type=KindArgument())
@click.argument("name")
@namespace_option
@mesh_option
def delete(kind: str, name: str, namespace: str, mesh: Path | None) -> None:
    """Delete the applied object KIND NAME. An object that a file holds is deleted in that file."""
    path = "/".join(quote(part, safe="") for part in (kind, namespace, name))
    _, answer = MeshClient.of(mesh).call("DELETE", f"/v1/objects/{path}")
    report(answer)

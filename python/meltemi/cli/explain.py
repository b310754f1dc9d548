"""`meltemi explain`: which route a request would take, and why each earlier one did not match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from meltemi.cli.client import MeshClient, mesh_option
from meltemi.cli.errors import Failure
from meltemi.cli.table import printable


@click.command()
@click.argument("service")
@click.option("--from", "caller", default="", metavar="WORKLOAD", help="Who calls.")
@click.option("--attr", "attributes", multiple=True, metavar="NAME=VALUE", help="Of the request.")
@click.option("--method", default="", metavar="NAME", help="The same as --attr method=NAME.")
@click.option(
    "--path", default="", metavar="/PACKAGE.SERVICE/METHOD", help="Of a call without a sidecar."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Of the service (default: the first).")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Where the caller is.")
@click.option(
    "--config",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Ask the files of DIR, not a running mesh.",
)
@mesh_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def explain(
    service: str,
    caller: str,
    attributes: tuple[str, ...],
    method: str,
    path: str,
    port: int | None,
    namespace: str,
    directory: Path | None,
    mesh: Path | None,
    output: str,
) -> None:
    """Show which route a request to SERVICE would take: NAME, NAME.NAMESPACE, a hostname or a Dubbo
    interface.

    A request is its attributes: --attr method=sayHello. With --path, or --from a workload without
    a sidecar, it is a call of such a client: VirtualServices hold for it."""
    if directory is not None and mesh is not None:
        raise click.UsageError("--config reads files, --mesh asks a running mesh: give one of them")
    question = {
        "service": service,
        "from": caller,
        "namespace": namespace,
        "port": port,
        "attributes": dict(map(_attribute, attributes)) | ({"method": method} if method else {}),
        "path": _path(path),
    }
    if directory is not None:
        _offline(question, directory, output)
    else:
        _show(MeshClient.of(mesh).call("POST", "/v1/explain", body=question)[1], output)


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--attr")
    return name.lower(), value


def _path(text: str) -> str:
    if text and not text.startswith("/"):
        raise click.BadParameter(f"{text!r} does not begin with /", param_hint="--path")
    return text


def _offline(question: dict[str, Any], directory: Path, output: str) -> None:
    from meltemi.analysis.explain import Question, explain
    from meltemi.analysis.places import UnknownNameError
    from meltemi.cli.offline import offline

    found = offline(directory, question["namespace"] or "default")
    try:
        answer = explain(found.mesh, Question.from_json(question))
    except UnknownNameError as error:
        raise Failure(str(error), error.hint) from error
    _show(answer, output)
    found.end()


def _show(answer: dict[str, Any], output: str) -> None:
    from meltemi.analysis.explain import lines

    if output == "json":
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for line in lines(answer):
            click.echo(printable(line))

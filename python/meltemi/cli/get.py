"""`meltemi get`: the objects of the running mesh, from files and applied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from meltemi.cli.client import MeshClient, mesh_option, namespace_option
from meltemi.cli.errors import Failure
from meltemi.cli.kinds import KindArgument
from meltemi.cli.table import table


@click.command()
@click.argument("kind", type=KindArgument())
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Choice(["table", "yaml", "json"]), default="table")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@namespace_option
@mesh_option
def get(
    kind: str,
    name: str | None,
    output: str,
    all_namespaces: bool,
    namespace: str,
    mesh: Path | None,
) -> None:
    """Show objects of KIND (singular, plural or short name, in any case), or the one named NAME."""
    query = {"kind": kind}
    if not all_namespaces:
        query["namespace"] = namespace
    if name is not None:
        query["name"] = name
    client = MeshClient.of(mesh)
    objects = client.read("/v1/objects", query)["objects"]
    if not objects and (name is not None or output == "table"):
        _nothing(client, kind, name, None if all_namespaces else namespace)
        return
    if output == "table":
        _print_table(objects)
        return
    documents = [found["document"] for found in objects]
    if output == "json":
        one = documents[0] if name is not None and len(documents) == 1 else None
        items = {"apiVersion": "v1", "kind": "List", "items": documents}
        click.echo(json.dumps(one or items, indent=2, ensure_ascii=False))
    else:
        from meltemi.controlplane.document import as_yaml

        click.echo("---\n".join(as_yaml(document) for document in documents), nl=False)


def _nothing(client: MeshClient, kind: str, name: str | None, namespace: str | None) -> None:
    """Says that nothing is there, and where something of the kind is. Raises Failure for a name."""
    others = client.read("/v1/objects", {"kind": kind} | ({"name": name} if name else {}))
    elsewhere = sorted({found["namespace"] for found in others["objects"]})
    hint = f"In other namespaces: {', '.join(elsewhere)} (-n, or -A for all)." if elsewhere else ""
    where = f" in namespace {namespace}" if namespace is not None else ""
    if name is not None:
        raise Failure(f"there is no {kind} {name}{where}", hint)
    click.echo(f"No {kind}{where}. {hint}".rstrip(), err=True)


def _print_table(objects: list[dict[str, Any]]) -> None:
    rows = [(found["namespace"], found["name"], _source(found)) for found in objects]
    click.echo(table(("NAMESPACE", "NAME", "SOURCE"), rows))


def _source(found: dict[str, Any]) -> str:
    if found["applied"]:
        return "applied"
    return f"{found['file']}:{found['line']}"

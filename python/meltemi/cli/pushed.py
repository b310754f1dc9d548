"""What `apply` and `delete` say after a change: the objects, and the nodes that do not have it."""

from __future__ import annotations

from typing import Any

import click

from meltemi.cli.table import printable


def report(answer: dict[str, Any]) -> None:
    """Prints a line an object, and a warning for each node that refused the change or is late."""
    for changed in answer["objects"]:
        name = f"{changed['namespace']}/{changed['name']}"
        click.echo(f"{changed['kind']} {name} {changed['action']}")
    for node in answer["nodes"]["refused"]:
        reason = printable(node["reason"])
        click.echo(f"warning: {node['id']} refused {node['what']}: {reason}", err=True)
    if late := answer["nodes"]["late"]:
        click.echo(f"warning: not acknowledged yet by {', '.join(late)}", err=True)


def print_issues(issues: list[dict[str, Any]], err: bool = True) -> None:
    """One line an issue, as compilers write them: on standard error, or as output."""
    for issue in issues:
        place = ":".join(str(issue[k]) for k in ("file", "line", "column") if issue.get(k))
        named = not issue.get("path") or issue["message"].startswith(issue["path"])
        path = "" if named else f"{issue['path']}: "
        hint = f" ({issue['hint']})" if issue.get("hint") else ""
        line = f"{place}: {issue['severity']}: {path}{issue['message']}{hint}"
        click.echo(printable(line), err=err)

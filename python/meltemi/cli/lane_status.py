"""`meltemi lanes status`: who answered the requests of lanes, over the sidecars that run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from meltemi.cli.client import mesh_option
from meltemi.cli.errors import Failure
from meltemi.cli.proxy import sidecars
from meltemi.cli.table import table

ANSWERS = ("lane", "fallback", "baseline", "none")
HEADER = ("LANE", "SERVICE", "REQUESTS", "IN LANE", "FALLBACK", "BASELINE", "NOBODY", "LEAKS")


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@mesh_option
def status(output: str, mesh: Path | None) -> None:
    """Show who answered the requests of each lane, by service, as running sidecars counted.

    Exit status: 0, also where no lane was asked for; 3 where a sidecar does not answer."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    away: Failure | None = None
    for sidecar in sidecars(mesh):
        try:
            stats = sidecar.json("/stats?format=json&filter=lane.")["stats"]
        except Failure as failure:
            away = failure
            continue
        for stat in stats:
            if stat["name"].startswith("lane."):
                _add(sums, stat["name"], stat["value"])
    rows = [_row(lane, service, counted) for (lane, service), counted in sorted(sums.items())]
    if output == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        click.echo(table(HEADER, map(_cells, rows)))
    else:
        click.echo("No sidecar has counted a request of a lane.")
    if away is not None:
        raise away


def _add(sums: dict[tuple[str, str], Counter[str]], name: str, value: int) -> None:
    """`lane.SERVICE.LANE.NUMBER`."""
    scope, _, number = name.rpartition(".")
    scope, _, lane = scope.rpartition(".")
    _, _, service = scope.partition(".")
    sums.setdefault((lane, service), Counter())[number.removeprefix("answered_by_")] += value


def _row(lane: str, service: str, counted: Counter[str]) -> dict[str, Any]:
    answered_by = {who: counted[who] for who in ANSWERS}
    return {
        "lane": lane,
        "service": service,
        "requests": sum(answered_by.values()),
        "answered_by": answered_by,
        "leaks": counted["leaks"],
    }


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    by = row["answered_by"]
    numbers = (row["requests"], *(by[who] for who in ANSWERS), row["leaks"])
    return (row["lane"], row["service"], *numbers)

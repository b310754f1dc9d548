"""`meltemi lanes`: what lanes stand for, and who answers their requests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import yaml

from meltemi import config
from meltemi.cli.documents import read_sources
from meltemi.cli.errors import FAILED
from meltemi.cli.lane_status import status
from meltemi.cli.pushed import print_issues
from meltemi.model.addresses import Addresses


@click.group()
def lanes() -> None:
    """Show what lanes stand for, and who answers their requests."""


lanes.add_command(status)


@lanes.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-n", "--namespace", default="default", help="For documents without one.")
@click.option(
    "--gateway-namespace", default="istio-system", show_default=True, help="Of Istio's gateway."
)
@click.option(
    "--gateway-label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    default=("istio=ingressgateway",),
    show_default=True,
    help="Of Istio's gateway; may be given several times.",
)
def show(
    paths: tuple[str, ...], namespace: str, gateway_namespace: str, labels: tuple[str, ...]
) -> None:
    """Print the rules that the lanes in PATH stand for, as YAML for kubectl.

    PATH is a file, a folder or - (stdin). Exit status: 0 no error (warnings included), 1 not."""
    from meltemi.analysis.lane_rules import stands_for

    selector = _labels(labels)
    read, unreadable = read_sources(paths)
    loaded = config.load(read, namespace)
    mesh, together = config.build(loaded.objects, Addresses())
    for number, each in enumerate(stands_for(loaded.objects, mesh, gateway_namespace, selector)):
        if number:
            click.echo("---")
        for comment in each.comments:
            click.echo(f"# {comment}")
        click.echo(yaml.dump(each.document, Dumper=_Dumper, sort_keys=False, width=4096), nl=False)
    wrong = config.errors([*unreadable, *loaded.issues, *together])
    print_issues([issue.as_json() for issue in wrong])
    if wrong:
        sys.exit(FAILED)


def _labels(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{each!r}: want KEY=VALUE", param_hint="--gateway-label")
        found[key] = value
    return found


class _Dumper(yaml.SafeDumper):
    """Programs as blocks of lines, and nothing as an alias of something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

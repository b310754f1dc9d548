"""`meltemi demo`: a guided tour that checks itself."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from meltemi.cli.errors import Failure

TOURS = {
    "bookinfo": "meltemi.local.tour_bookinfo",
    "dubbo": "meltemi.local.tour_dubbo",
    "proxyless": "meltemi.local.tour_proxyless",
    "thrift": "meltemi.local.tour_thrift",
}


@click.command()
@click.argument("name", type=click.Choice(sorted(TOURS)), default="thrift")
@click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of the examples; found by itself in a checkout.",
)
def demo(name: str, examples: Path | None) -> None:
    """Run the guided tour NAME: a mesh of real processes, each step checked and shown."""
    from rich.console import Console

    from meltemi.local.tour import StepFailed, running_example

    example = (examples or _examples()) / name
    if not example.is_dir():
        raise Failure(f"there is no example {example}", "Name their folder with --examples.")
    console = Console(highlight=False, soft_wrap=True)
    try:
        module = importlib.import_module(TOURS[name])
        module.prepare(example, console.print)
        arrange = getattr(module, "arrange", lambda _directory: None)
        with running_example(example, console.print, arrange) as tour:
            module.run(tour)
    except StepFailed as failed:
        raise Failure(f"this step does not hold: {failed}") from None
    except ModuleNotFoundError as missing:
        raise Failure(
            f"the tour needs the package {missing.name}",
            "Install what the examples run: pip install 'meltemi[examples,gateway]'.",
        ) from None
    console.print("\n[bold green]The tour is complete: every step holds.[/bold green]")


def _examples() -> Path:
    """The `examples` of this checkout, or of a folder above the current one."""
    for folder in (Path(__file__).resolve().parents[3], Path.cwd(), *Path.cwd().parents):
        if (folder / "examples" / "thrift" / "mesh.yaml").is_file():
            return folder / "examples"
    raise Failure("the examples are not here", "Name their folder with --examples.")

"""docs/proxyless.md says what the code does, and its example runs."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import meltemi.proxyless.bootstrap
import meltemi.proxyless.grpc_bootstrap
from meltemi import proxyless
from mesh_fixtures import Serve

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "proxyless.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- test: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
PLATFORM = {"KUBERNETES_SERVICE_HOST", "XDG_CACHE_HOME", "HOME"}
"""Variables that are not ours to set."""


def table(name: str) -> Iterator[list[str]]:
    """The rows of the table after `<!-- table: name -->`."""
    text = PAGE.partition(f"<!-- table: {name} -->\n")[2].partition("\n\n")[0]
    for line in text.splitlines()[2:]:
        yield [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_setting_is_listed_and_no_other() -> None:
    arguments = [name for row in table("settings") for name in quoted(row[0])]
    assert arguments == sorted(arguments, key=arguments.index)
    assert set(arguments) == set(inspect.signature(proxyless.connect).parameters)


def test_every_variable_is_listed_and_no_other() -> None:
    modules = (meltemi.proxyless.bootstrap, meltemi.proxyless.grpc_bootstrap)
    source = "".join(inspect.getsource(module) for module in modules)
    read = set(re.findall(r'"((?:[A-Z]+_)+[A-Z]+)"', source))
    read -= {"CLUSTER_ID", "INSTANCE_IPS", "MELTEMI_CLIENT"} | PLATFORM
    names = set(inspect.signature(proxyless.connect).parameters)
    assert {name for row in table("variables") for name in quoted(row[1])} <= names | {"metadata"}
    listed = {name for row in table("variables") for name in quoted(row[0])}
    assert listed == {name for name in read if not name.startswith("GRPC_")}
    assert all(f"`{name}`" in PAGE for name in read)


def test_every_error_is_listed_and_no_other() -> None:
    errors = {name for name in proxyless.__all__ if name.endswith("Error")} - {"MeltemiError"}
    assert {name for row in table("errors") for name in quoted(row[0])} == errors


def test_the_example_prints_where_a_call_goes(serve: Serve) -> None:
    server = serve()
    server.service("echo:9090", "outbound|9090|v2|echo", "127.0.0.1:7001")
    (example,) = EXAMPLES.values()
    environment = {**os.environ, "MELTEMI_XDS_ADDRESS": server.address}
    done = subprocess.run(
        [sys.executable, "-c", example], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("outbound|9090|v2|echo", "")

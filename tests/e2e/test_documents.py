"""The examples of the documents are run as they stand there.

Marks before a block: `test: yaml` (valid), `test: yaml: MESSAGE` (valid, with that warning),
`test: file NAME` (the block is that file), `test: console` (commands and what they print: `…` is
anything; addresses, times and versions are those of the run), and names that a test here asks for.
What the pages list is compared with the code in `test_documents_lists`."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from documents import DOCUMENTS, ROOT, Block, block, blocks, is_as_shown, steps
from meltemi import config
from meltemi.cli import cli
from meltemi.controlplane.tokens import Tokens
from meltemi.model.addresses import Addresses
from mesh import Mesh, eventually, running

CLIENT = "thrift-sample-client.meta-thrift"
HOME = "/home/me/meltemi"
V9 = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: v9, namespace: meta-thrift}
spec:
  hosts: [thrift-sample-server.meta-thrift.svc.cluster.local]
  routes:
    - route:
        - destination: {host: thrift-sample-server.meta-thrift.svc.cluster.local, subset: v9}
"""


class Checkout:
    """A folder with `examples/thrift`, whose mesh runs, and `meltemi` as a program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),  # other meshes of this user are not meant
            "COLUMNS": "200",
        }
        program = folder / "bin" / "meltemi"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m meltemi "$@"\n')
        program.chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Standard output and standard error together, as a terminal shows them."""
        return subprocess.run(
            ["bash", "-uc", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def ran(self, script: str) -> str:
        """What a script prints that has to end well."""
        done = self.run(f"set -e\n{script}")
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Checkout, Mesh]]:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    directory = checkout.folder / "examples" / "thrift"
    shutil.copytree(
        ROOT / "examples" / "thrift",
        directory,
        ignore=shutil.ignore_patterns(".*", "__pycache__"),
    )
    (checkout.folder / "hello.yaml").write_text(_rule("README.md"))
    (checkout.folder / "v9.yaml").write_text(V9)
    with running(directory, env={"XDG_RUNTIME_DIR": str(checkout.folder)}) as running_mesh:
        yield checkout, running_mesh


@pytest.fixture
def checkout(mesh: tuple[Checkout, Mesh]) -> Iterator[Checkout]:
    """Without applied rules after the test."""
    yield mesh[0]
    for name in ("hello", "v9"):
        mesh[0].run(f"meltemi delete MetaRouter {name} -n meta-thrift")


def _rule(document: str) -> str:
    found = re.search(r"<<EOF\n(.*?)EOF", (ROOT / document).read_text(), re.DOTALL)
    assert found, f"{document} applies no rule"
    return found[1]


def _all_v1(checkout: Checkout) -> bool:
    lines = checkout.run(f"meltemi logs {CLIENT} --tail 3").stdout.splitlines()
    return len(lines) == 3 and all("server-v1" in line for line in lines)


def test_the_readme_is_true(checkout: Checkout) -> None:
    checkout.ran(block("README.md", "apply").text)
    eventually(lambda: _all_v1(checkout), 15)
    shown = checkout.ran(block("README.md", "look").text)
    assert '"exact_match": "sayHello"' in shown
    assert "takes route v1" in shown and "acknowledged" in shown
    checkout.ran("meltemi delete MetaRouter hello -n meta-thrift")


def test_the_example_says_the_same_as_the_readme() -> None:
    assert _rule("README.md") == _rule("examples/thrift/README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_is_tested(document: str) -> None:
    untested = [
        each.text
        for each in blocks(document)
        if each.language in ("yaml", "console") and not each.mark
    ]
    assert document.startswith("examples/") or not untested  # the tests around this one have them


def test_the_rule_of_the_dubbo_example_does_what_its_page_says(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/dubbo/mesh.yaml", tmp_path)
    (tmp_path / "rule.yaml").write_text(_rule("examples/dubbo/README.md"))
    interface = "org.apache.dubbo.samples.basic.api.DemoService"
    ask = ("explain", interface, "--config", str(tmp_path), "-o", "json", "--attr")
    for method, route, subset in (("sayHello", "batchjob", "batchjob"), ("sayBye", "rest", "")):
        done = CliRunner().invoke(cli, [*ask, f"method={method}"])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert said["route"] == route
        assert [cluster["name"].split("|")[2] for cluster in said["clusters"]] == [subset]


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(each, id=f"{document}:{each.line}")
        for document in DOCUMENTS
        for each in blocks(document)
        if re.match(r"yaml\b", each.mark)
    ],
)
def test_yaml_is_valid_and_warns_only_of_what_it_says(example: Block) -> None:
    loaded = config.load([config.Source("example", example.text)])
    _, together = config.build(loaded.objects, Addresses())
    issues = [*loaded.issues, *together]
    _, _, warning = example.mark.partition(": ")
    assert [str(issue) for issue in config.errors(issues)] == []
    assert [issue.message for issue in issues] == ([warning] if warning else [])


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_commands_print_what_the_page_shows(document: str, checkout: Checkout) -> None:
    for example in blocks(document):
        kind, _, name = example.mark.partition(" ")
        if kind == "file":
            target = checkout.folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(example.text)
        elif kind == "console":
            for command, expected in steps(example.text):
                shown = checkout.run(command).stdout.replace(str(checkout.folder), HOME)
                assert is_as_shown(expected, shown), (
                    f"{document}:{example.line}: {command}\nprints\n{shown}\nnot\n{expected}"
                )


def test_a_token_is_made_as_the_page_says(mesh: tuple[Checkout, Mesh]) -> None:
    checkout, running_mesh = mesh
    node = "sidecar~127.1.2.3~hello-0.shop~shop.svc.cluster.local"
    token = Tokens.open(running_mesh.directory / ".meltemi").token(node).reveal()
    assert checkout.ran(block("docs/operations.md", "token").text).strip() == token


@contextlib.contextmanager
def _started(arguments: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, cwd=log.parent)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def _get(port: int, path: str) -> str:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
    return answer.text if answer.status_code == 200 else ""


def test_the_parts_run_alone_and_stock_envoy_takes_its_configuration(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    ports = {number: free_port() for number in (16000, 16001, 16010, 16014, 19090, 19091)}

    def with_ports(mark: str) -> str:
        text = block("docs/operations.md", mark).text
        return re.sub(r"\b1[69]\d{3}\b", lambda found: str(ports[int(found[0])]), text)

    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "mesh.yaml").write_text(with_ports("file alone/mesh.yaml"))
    (tmp_path / "envoy.yaml").write_text(with_ports("envoy"))
    lines = [shlex.split(line.rstrip(" &")) for line in with_ports("alone").splitlines()]
    control_plane, sidecar = ([sys.executable, "-m", *line] for line in lines)
    name = f"127.0.0.1_{ports[19090]}"
    with _started(control_plane, tmp_path / "control-plane.log"):
        eventually(lambda: _get(ports[16014], "/ready"), 20)
        with _started(sidecar, tmp_path / "sidecar.log"):
            eventually(lambda: _get(ports[16000], "/ready") == "LIVE\n", 20)
            assert name in _get(ports[16000], "/config_dump")
        binary = _envoy()
        arguments = [str(binary), "-c", "envoy.yaml", "--concurrency", "1"]
        with _started([*arguments, "--use-dynamic-base-id"], tmp_path / "envoy.log"):
            eventually(lambda: name in _get(ports[16001], "/listeners"), 20)
            stats = _get(ports[16001], "/stats?filter=update_rejected")
            assert stats and all(line.endswith(": 0") for line in stats.splitlines())


def _envoy() -> Path:
    import importlib.util

    found = importlib.util.find_spec("envoy")
    assert found is not None and found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0]) / "_bin" / "envoy"

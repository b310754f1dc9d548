"""`meltemi validate` says everything that is wrong, to people and to programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from meltemi.cli.validate import validate

GOOD = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a}
spec: {address: 1.1.1.1}
"""
BAD = GOOD.replace("address", "adress")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD + "---\n" + GOOD.replace("name: a", "name: b, x: 1"))
    return path


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(validate, [str(each) for each in arguments], input=stdin)


def test_valid_documents_exit_0(good: Path) -> None:
    result = run("-f", good)
    assert result.exit_code == 0
    assert result.output == "1 file, 1 valid object, 0 errors, 0 warnings\n"


def test_every_error_is_shown_with_its_place_and_what_would_be_right(bad: Path) -> None:
    result = run("-f", bad)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{bad}:4:1: error: address is missing",
        "    an IP address, a host name or network",
        f"{bad}:4:8: error: unknown field adress",
        "    did you mean address?",
        f"{bad}:8:21: error: unknown field x",
        "    known fields: name, generateName, namespace, labels, annotations, uid,"
        " resourceVersion, generation, creationTimestamp, deletionTimestamp, …",
        "1 file, 0 valid objects, 3 errors, 0 warnings",
    ]


def test_json_has_exactly_the_fields_that_programs_read(bad: Path) -> None:
    result = run("-f", bad, "-o", "json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert [(issue["line"], issue["code"]) for issue in found] == [
        (4, "missing-address"),
        (4, "unknown-field"),
        (8, "unknown-field"),
    ]
    fields = ["file", "line", "column", "path", "severity", "code", "message", "hint"]
    assert all(list(issue) == fields for issue in found)
    assert found[1]["path"] == "spec.adress"


def test_json_of_valid_documents_is_an_empty_list(good: Path) -> None:
    result = run("-f", good, "-o", "json")
    assert (result.exit_code, json.loads(result.output)) == (0, [])


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: x\n")
    result = run("-f", tmp_path)
    assert result.exit_code == 0
    assert "not a Kubernetes document: skipped" in result.output


def test_several_paths_and_folders_are_read_and_each_file_once(good: Path, bad: Path) -> None:
    one, two, folder = str(good), str(bad), str(good.parent)
    for arguments in (["-f", one, "-f", two], ["-f", one, two], ["-f", folder, "-f", one]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith("2 files, 1 valid object, 3 errors")


def test_a_path_needs_no_option(good: Path, bad: Path) -> None:
    result = run(good)
    assert (result.exit_code, result.output[:22]) == (0, "1 file, 1 valid object")
    assert run(good, bad, "-o", "json").exit_code == 1


def test_names_that_another_file_may_hold_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: metaprotocol.aeraki.io/v1alpha1\nkind: MetaRouter\nmetadata: {name: a}\n"
        "spec: {hosts: [hello], routes: [{route: [{destination: {host: hello}}]}]}\n"
    )
    assert run(tmp_path).output == "1 file, 1 valid object, 0 errors, 0 warnings\n"


def test_standard_input_is_read_as_a_dash() -> None:
    result = run("-f", "-", stdin=BAD)
    assert result.exit_code == 1
    assert "stdin:4:8: error: unknown field adress" in result.output


def test_a_namespace_is_given_to_documents_without_one(tmp_path: Path) -> None:
    text = GOOD.replace("WorkloadEntry", "DestinationRule").replace("address: 1.1.1.1", "host: a")
    (tmp_path / "a.yaml").write_text(text.replace("host: a", "host: a, exportTo: [., shop]"))
    assert run("-f", tmp_path).exit_code == 0
    assert run("-f", tmp_path, "-n", "shop").exit_code == 1


def test_a_path_that_is_not_there_fails_and_the_others_are_checked(
    bad: Path, tmp_path: Path
) -> None:
    result = run("-f", tmp_path / "nope", "-f", bad, "-o", "json")
    assert result.exit_code == 1
    assert sorted({issue["code"] for issue in json.loads(result.output)}) == [
        "missing-address",
        "unknown-field",
        "unreadable",
    ]


def test_no_path_is_wrong_usage() -> None:
    result = run()
    assert result.exit_code == 2
    assert "-f" in result.output


def test_the_command_has_no_colours_where_nobody_looks_and_the_right_exit_code(bad: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", "validate", "-f", str(bad)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert done.stderr == ""

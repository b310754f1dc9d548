"""YAML is read as kubectl reads it, with the place of everything, and within bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from meltemi.config import documents
from meltemi.config.documents import MAX_DEPTH, MAX_NODES, Document, parse
from meltemi.config.issues import Issue


def only(text: str) -> Document:
    found, issues = parse("a.yaml", text)
    assert not issues, issues
    (document,) = found
    return document


def wrong(text: str | bytes) -> Issue:
    _, issues = parse("a.yaml", text)
    (issue,) = issues
    return issue


def test_each_document_of_a_file_knows_its_lines() -> None:
    found, issues = parse("a.yaml", "a: 1\n---\n# nothing\n---\nb:\n  - c: 2\n")
    assert not issues
    assert [document.value for document in found] == [{"a": 1}, {"b": [{"c": 2}]}]
    assert found[0].place(("a",)) == (1, 1)
    assert found[1].place(("b", 0, "c")) == (6, 5)


def test_a_place_that_is_not_there_is_that_of_the_nearest_that_is() -> None:
    document = only("spec:\n  ports:\n  - number: 1\n")
    assert document.place(("spec", "ports", 0, "name")) == (3, 5)
    assert document.place(("spec", "hosts")) == (1, 1)
    assert document.place(("metadata", "name")) == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("Y", True),
        ("~", None),
        ("", None),
        ("0o17", 15),
        ("017", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-12", -12),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("08", 8.0),
        ("12:30", "12:30"),
        ("2026-11-21", "2026-11-21"),
        ("1.2.3", "1.2.3"),
        ("'yes'", "yes"),
        ('"80"', "80"),
        ("!!str 80", "80"),
        ("!!float 3", 3.0),
        ("!!binary aGk=", "hi"),
        ("20000000000000000000", 2e19),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_what_kubectl_makes_of_them(text: str, value: object) -> None:
    found = only(f"v: {text}\n").value["v"]
    assert found == value
    assert type(found) is type(value)


def test_keys_become_text_as_json_wants_it() -> None:
    assert only("80: a\ntrue: b\n1.5: c\n").value == {"80": "a", "true": "b", "1.5": "c"}


def test_json_is_read_with_its_tabs_and_escapes() -> None:
    text = json.dumps({"a": {"b": ["x", 1, None]}, "c": "\U0001f600/"}, indent="\t")
    assert only(text).value == {"a": {"b": ["x", 1, None]}, "c": "\U0001f600/"}


def test_a_key_that_is_there_twice_is_an_error_with_its_path_and_the_first_one_counts() -> None:
    document = only("spec:\n- a: 1\n  b: 2\n  a: 3\n")
    (flaw,) = document.flaws
    assert (flaw.line, flaw.column, flaw.path, flaw.code) == (
        4,
        3,
        "spec[0].a",
        "yaml-duplicate-key",
    )
    assert document.value == {"spec": [{"a": 1, "b": 2}]}
    assert document.place(("spec", 0, "b")) == (3, 3)


def test_aliases_and_merges_stand_for_what_they_name() -> None:
    text = "base: &b {x: 1, w: {z: 2}}\nown:\n  <<: *b\n  x: 3\nlist: [*b]\n"
    document = only(text)
    assert document.value["own"] == {"x": 3, "w": {"z": 2}}
    assert document.value["list"] == [{"x": 1, "w": {"z": 2}}]
    assert document.place(("own", "x")) == (4, 3)
    assert document.place(("own", "w", "z")) == (1, 21)
    assert document.place(("list",)) == (5, 1)


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    issue = wrong("\n".join(lines))
    assert issue.code == "yaml-too-large"
    assert str(MAX_NODES) in issue.message


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: *b"])
def test_an_alias_of_nothing_or_of_itself_is_an_error(text: str) -> None:
    assert wrong(text).code == "yaml-alias"


@pytest.mark.parametrize("deep", [MAX_DEPTH + 2, 900, 100_000])
def test_depth_is_bounded(deep: int) -> None:
    assert wrong("[" * deep + "]" * deep).code in ("yaml-too-deep", "yaml-syntax")


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 10)
    assert wrong(b"a: 12345678").code == "yaml-too-large"
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 2)
    found, issues = parse("a.yaml", "---\na: 1\n" * 4)
    assert len(found) == 2
    assert [issue.code for issue in issues][:1] == ["yaml-too-large"]


def test_a_broken_document_does_not_hide_the_others() -> None:
    text = "a: 1\n---\nb: [1\n---\nc: 1\n--- # last\nd: {\n"
    found, issues = parse("a.yaml", text)
    assert [document.value for document in found] == [{"a": 1}, {"c": 1}]
    assert [issue.code for issue in issues] == ["yaml-syntax"] * 2
    assert found[1].place(("c",)) == (5, 1)
    assert [issue.line for issue in issues] == [4, 8]


def test_bytes_that_are_no_text_say_where() -> None:
    issue = wrong(b"a: \xff\n")
    assert (issue.code, issue.message) == ("yaml-encoding", "byte 3 is not UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_of_unicode_are_read(encoding: str) -> None:
    found, issues = parse("a.yaml", "a: ä\r\n".encode(encoding))
    assert not issues
    assert found[0].value == {"a": "ä"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=20,
)


@given(st.binary(max_size=200) | st.text(alphabet="-[]{}:&*!<#'\"|>%@\n\t ab1", max_size=60))
def test_anything_gives_documents_or_issues_never_an_exception(content: bytes | str) -> None:
    found, issues = parse("a.yaml", content)
    for document in found:
        assert document.place(("a", 0, "b")) >= (1, 1)
    for issue in issues:
        assert issue.line >= 1
        assert issue.message


@given(VALUES)
def test_what_json_writes_is_read_back(value: object) -> None:
    found, issues = parse("a.json", json.dumps({"v": value}))
    assert not issues
    assert found[0].value == {"v": value}


@given(st.dictionaries(st.text("abc", min_size=1), VALUES, min_size=1))
def test_the_place_of_a_key_is_where_its_text_stands(value: dict[str, object]) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    (document,), _ = parse("a.yaml", text)
    lines = text.splitlines()
    for key in value:
        line, column = document.place((key,))
        assert lines[line - 1][column - 1 :].startswith(key)


def test_no_document_of_others_is_unreadable(cases: Path) -> None:
    files = [path for path in cases.rglob("*.yaml") if "manifests" not in path.parts]
    assert len(files) > 300
    for path in files:
        _, issues = parse(path.name, path.read_bytes())
        assert not issues, path

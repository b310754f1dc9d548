"""What is written to the state folder reads back as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from meltemi.config.documents import parse
from meltemi.controlplane import addresses
from meltemi.controlplane.document import as_stored, as_yaml
from meltemi.model.addresses import Addresses

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)

TRICKY = [
    "yes", "No", "on", "null", "~", "1e3", "0x1F", "0o7", "010", "1_000", "1:30", ".5", "-1", "+1",
    ".inf", "-.Inf", ".NaN", "2026-11-21", "", " ", "a: b", "# c", "- d", "'", '"', "a\nb", "a\n",
    "\n", "a\r\nb", "\ttab", "{}", "[]", "*a", "&a", "!t", "%d", "@x", "`", "<<", "=", "y", "N",
    "\u2028", "\u0085", "\ufeffx", "é", "\x07", "a" * 200, "a b " * 60,
]  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=8), JSON, min_size=1, max_size=4))
def test_any_document_reads_back_as_itself(document: dict[str, Any]) -> None:
    documents, issues = parse("stored", as_stored(document))
    assert issues == []
    assert [found.value for found in documents] == [document]


@pytest.mark.parametrize("text", TRICKY)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    document = {"key": text, "list": [text], "map": {text or "empty": 1}}
    documents, issues = parse("shown", as_stored(document))
    assert (issues, [found.value for found in documents]) == ([], [document])


@pytest.mark.parametrize("text", ["yes", "1e3", "0x1F", "null", "2026-11-21", "1:30", "a\nb"])
def test_what_is_shown_is_the_same_for_an_ordinary_yaml_reader(text: str) -> None:
    assert yaml.safe_load(as_yaml({"key": text})) == {"key": text}


class TestAddresses:
    def test_they_are_read_back_as_they_were_handed_out(self, tmp_path: Path) -> None:
        path = tmp_path / ".meltemi" / "addresses.json"
        path.parent.mkdir()
        first = addresses.read(path, "127.9")
        handed_out = {key: first.address(key) for key in ("instance/a/b-0", "host/a/b-0")}
        addresses.write(path, first)
        again = addresses.read(path)
        assert (again.subnet, dict(again.taken)) == ("127.9", handed_out)

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", '{"subnet": 1}', '{"subnet": "10.1", "addresses": {}}']
    )
    def test_a_damaged_file_is_as_none(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / ".meltemi" / "addresses.json"
        path.parent.mkdir()
        path.write_text(content)
        found = addresses.read(path)
        assert dict(found.taken) == {}
        assert found.subnet == addresses.read(path).subnet

    def test_another_subnet_hands_out_the_same_hosts_there(self, tmp_path: Path) -> None:
        path = tmp_path / ".meltemi" / "addresses.json"
        path.parent.mkdir()
        first = addresses.read(path, "127.9")
        before = first.address("instance/a/b-0")
        addresses.write(path, first)
        after = addresses.read(path, "127.10").address("instance/a/b-0")
        assert after == before.replace("127.9.", "127.10.")

    def test_what_is_gone_keeps_its_address_until_many_are_handed_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = addresses.Recording(Addresses("127.9"))
        kept, gone = first.address("kept"), first.address("gone")
        second = addresses.Recording(first)
        second.address("kept")
        second.forget_if_many()
        assert dict(second.taken) == {"kept": kept, "gone": gone}
        monkeypatch.setattr(addresses, "KEEP", 1)
        second.forget_if_many()
        assert dict(second.taken) == {"kept": kept}

    def test_the_file_is_json_with_a_subnet_for_others(self, tmp_path: Path) -> None:
        path = tmp_path / "addresses.json"
        given_out = Addresses("127.9")
        given_out.address("instance/a/b-0")
        addresses.write(path, given_out)
        found = json.loads(path.read_text())
        assert found["subnet"] == "127.9" and list(found["addresses"]) == ["instance/a/b-0"]

"""What a saved file changed is said in one line, however much it was."""

from __future__ import annotations

from meltemi.config import Loaded, Source, load
from meltemi.controlplane.file_changes import lines


def entries(**addresses: str) -> Loaded:
    """A WorkloadEntry for each name."""
    documents = (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: {name}}}\nspec: {{address: {address}}}\n"
        for name, address in addresses.items()
    )
    return load([Source("a.yaml", "---\n".join(documents))])


ONE, TWO = "1.1.1.1", "2.2.2.2"


def test_what_was_added_changed_and_removed_is_one_line() -> None:
    before, after = entries(a=ONE, b=ONE, c=ONE), entries(b=TWO, c=ONE, d=ONE)
    assert list(lines(before, after)) == [
        "files: added WorkloadEntry default/d; changed WorkloadEntry default/b;"
        " removed WorkloadEntry default/a"
    ]


def test_an_object_that_only_moved_is_no_change() -> None:
    assert list(lines(entries(a=ONE, b=ONE), entries(b=ONE, a=ONE))) == []


def test_five_names_are_shown_and_the_rest_is_counted() -> None:
    (line,) = lines(entries(), entries(**dict.fromkeys("abcdefg", ONE)))
    assert line.count("WorkloadEntry") == 5
    assert line.endswith("default/e and 2 more")


def test_a_file_whose_errors_are_gone_is_named() -> None:
    wrong = entries(a="no!")
    assert not wrong.valid
    assert list(lines(wrong, entries())) == ["a.yaml: no errors any more"]
    assert list(lines(wrong, wrong)) == []

"""Which content of a file counts: the last that was right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.config.last_good import GONE_S, SHRUNK_S, Content, LastGood
from meltemi.config.load import Loaded

DOCUMENT = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {0}}}
spec: {{address: {1}}}
"""
A, B = DOCUMENT.format("a", "1.1.1.1"), DOCUMENT.format("b", "1.1.1.1")


class Watched:
    """A source whose files and clock the test moves."""

    def __init__(self) -> None:
        self.memory = LastGood()
        self.files: dict[str, Content] = {}
        self.now = 100.0
        self.loaded = Loaded((), ())
        self.changes = 0

    def save(self, text: str, file: str = "a.yaml") -> list[str]:
        self.files[file] = text.encode()
        return self.look()

    def remove(self, file: str = "a.yaml") -> list[str]:
        del self.files[file]
        return self.look()

    def look(self, later_s: float = 0.0) -> list[str]:
        """What counts now: `name=address` of each object."""
        self.now += later_s
        loaded = self.memory.update(self.files, self.now)
        if loaded is not None:
            self.loaded = loaded
            self.changes += 1
        return [f"{item.ref.name}={item.spec.address}" for item in self.loaded.objects]

    @property
    def codes(self) -> list[str]:
        return [issue.code for issue in self.loaded.issues]


@pytest.fixture
def watched() -> Watched:
    made = Watched()
    assert made.save(A + "---\n" + B) == ["a=1.1.1.1", "b=1.1.1.1"]
    return made


def test_a_change_counts_at_once(watched: Watched) -> None:
    text = A.replace("1.1.1.1", "2.2.2.2") + "---\n" + B
    assert watched.save(text) == ["a=2.2.2.2", "b=1.1.1.1"]
    assert watched.memory.deadline is None


@pytest.mark.parametrize("broken", ["{", A.replace("1.1.1.1", "no!") + "---\n" + B, "\xff" * 3])
def test_a_file_saved_with_an_error_changes_nothing_and_says_what_is_wrong(
    watched: Watched, broken: str
) -> None:
    assert watched.save(broken) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert len(watched.codes) >= 1
    assert watched.look(later_s=60) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.save(A + "---\n" + B.replace("1.1.1.1", "3.3.3.3")) == ["a=1.1.1.1", "b=3.3.3.3"]
    assert watched.codes == []


def test_a_file_that_is_empty_for_a_moment_drops_nothing(watched: Watched) -> None:
    before = watched.changes
    assert watched.save("") == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.look(later_s=GONE_S / 2) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.save(A + "---\n" + B) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.look(later_s=60) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.changes == before


def test_a_file_that_stays_empty_is_believed(watched: Watched) -> None:
    watched.save("# nothing\n")
    assert watched.memory.deadline == watched.now + GONE_S
    assert watched.look(later_s=GONE_S) == []
    assert watched.memory.deadline is None


def test_a_file_that_is_removed_and_put_back_drops_nothing(watched: Watched) -> None:
    assert watched.remove() == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.save(A.replace("1.1.1.1", "2.2.2.2") + "---\n" + B) == ["a=2.2.2.2", "b=1.1.1.1"]
    assert watched.look(later_s=60) == ["a=2.2.2.2", "b=1.1.1.1"]


def test_a_file_that_stays_away_is_gone(watched: Watched) -> None:
    watched.remove()
    assert watched.look(later_s=GONE_S) == []


def test_an_object_that_leaves_a_file_goes_once_the_file_is_still(watched: Watched) -> None:
    assert watched.save(B) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.look(later_s=SHRUNK_S) == ["b=1.1.1.1"]


def test_an_object_may_move_to_another_file(watched: Watched) -> None:
    watched.save(A, "z.yaml")
    assert watched.codes == ["duplicate-object"]
    watched.save(B)
    assert watched.look(later_s=SHRUNK_S) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.codes == []
    assert {item.file for item in watched.loaded.objects} == {"a.yaml", "z.yaml"}


def test_a_copy_in_a_file_with_a_lower_name_changes_nothing(watched: Watched) -> None:
    assert watched.save(A.replace("1.1.1.1", "9.9.9.9"), "0.yaml") == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.codes == ["duplicate-object"]


def test_a_mesh_that_starts_with_an_invalid_file_starts_with_what_is_valid() -> None:
    watched = Watched()
    assert watched.save(A + "---\nkind: {\n") == ["a=1.1.1.1"]
    assert watched.codes == ["yaml-syntax"]


def test_a_new_file_with_an_error_changes_nothing_until_it_is_right(watched: Watched) -> None:
    text = A.replace("name: a", "name: c") + "---\n"
    assert watched.save(text + "kind: {\n", "new.yaml") == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.codes == ["yaml-syntax"]
    assert watched.look(later_s=60) == ["a=1.1.1.1", "b=1.1.1.1"]
    assert watched.save(text, "new.yaml") == ["a=1.1.1.1", "b=1.1.1.1", "c=1.1.1.1"]
    assert watched.codes == []


def test_a_file_that_was_wrong_at_the_start_keeps_what_was_taken_of_it() -> None:
    watched = Watched()
    watched.save(A + "---\nkind: {\n")
    assert watched.save(A.replace("1.1.1.1", "2.2.2.2") + "---\nkind: [\n") == ["a=1.1.1.1"]


def test_nothing_new_is_no_change(watched: Watched) -> None:
    before = watched.changes
    watched.look(later_s=1)
    watched.save(A + "---\n" + B)
    assert watched.changes == before


@given(st.lists(st.sampled_from([A, B, A + "---\n" + B, "", "{", "apiVersion: v1\n"]), max_size=8))
def test_whatever_is_saved_in_between_the_last_right_content_counts_in_the_end(
    saved: list[str],
) -> None:
    watched = Watched()
    for text in saved:
        watched.save(text)
        watched.look(later_s=0.05)
    watched.save(A)
    assert watched.look(later_s=60) == ["a=1.1.1.1"]
    assert watched.codes == []

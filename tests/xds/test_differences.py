"""What differs between two views is found once, and is what a comparison of both gives."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView

from hypothesis import given
from hypothesis import strategies as st
from meltemi.xds.differences import REMEMBERED, Differences
from meltemi.xds.resource import Resource
from meltemi.xds.server_state import version_of_set

View = Mapping[str, Resource]
VIEWS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("12"), max_size=6)


class Counted(dict[str, Resource]):
    """A view that knows how often somebody walked over it."""

    walks = 0

    def __iter__(self) -> Iterator[str]:
        self.walks += 1
        return super().__iter__()

    def items(self) -> ItemsView[str, Resource]:  # type: ignore[override]  # counts
        self.walks += 1
        return super().items()

    def values(self) -> ValuesView[Resource]:  # type: ignore[override]  # counts
        self.walks += 1
        return super().values()


def view(versions: Mapping[str, str]) -> Counted:
    return Counted({name: Resource(name, version, b"") for name, version in versions.items()})


@given(st.lists(VIEWS, min_size=2, max_size=6), st.data())
def test_names_are_those_whose_version_differs_or_that_only_one_has(
    histories: list[dict[str, str]], data: st.DataObject
) -> None:
    differences = Differences()
    views = [view(versions) for versions in histories]
    for _ in range(10):
        old = data.draw(st.sampled_from(range(len(views))))
        new = data.draw(st.sampled_from(range(len(views))))
        before, after = histories[old], histories[new]
        wanted = {name for name in "abcdef" if before.get(name) != after.get(name)}
        assert differences.names(views[old], views[new]) == wanted


def test_a_pair_and_a_version_are_looked_at_once_for_all_streams() -> None:
    differences = Differences()
    before, after = view({"a": "1", "b": "1"}), view({"a": "2", "c": "1"})
    first = differences.names(before, after)
    version = differences.version(after)
    walks = before.walks + after.walks
    assert walks > 0
    for _ in range(200):
        assert differences.names(before, after) is first
        assert differences.version(after) is version
    assert before.walks + after.walks == walks


def test_the_version_is_that_of_the_set() -> None:
    one, same = view({"a": "1", "b": "2"}), view({"b": "2", "a": "1"})
    differences = Differences()
    assert differences.version(one) == differences.version(same) == version_of_set(one.values())
    assert differences.version(view({"a": "1"})) != differences.version(one)


def test_what_is_remembered_is_bounded_and_never_taken_for_another() -> None:
    """A mapping that is gone leaves its id to others: a pair is held as long as it is known."""
    differences = Differences()
    base = view({"a": "0"})
    for number in range(10 * REMEMBERED):
        now = view({"a": str(number % 3)})
        wanted = {"a"} if number % 3 else set()
        assert differences.names(base, now) == wanted
        assert differences.version(now) == version_of_set(now.values())
    assert len(differences._names) <= REMEMBERED
    assert len(differences._versions) <= REMEMBERED

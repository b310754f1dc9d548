"""What an edit left as it was is found by identity."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from meltemi.model.edited import edited

OBJECTS: list[object] = [[] for _ in range(5)]  # equal, and not the same
SEQUENCES = st.lists(st.sampled_from(range(5)), max_size=8).map(
    lambda chosen: tuple(OBJECTS[number] for number in chosen)
)


def same(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    return [id(each) for each in left] == [id(each) for each in right]


@given(SEQUENCES, SEQUENCES)
def test_outside_of_the_stretch_both_are_the_same(
    before: tuple[object, ...], after: tuple[object, ...]
) -> None:
    left, right = edited(before, after)
    assert left.start == right.start
    assert same(before[: left.start], after[: right.start])
    assert same(before[left.stop :], after[right.stop :])


@given(SEQUENCES, SEQUENCES)
def test_the_stretch_begins_and_ends_where_they_differ(
    before: tuple[object, ...], after: tuple[object, ...]
) -> None:
    left, right = edited(before, after)
    old, new = before[left], after[right]
    if old and new:
        assert old[0] is not new[0]
        assert old[-1] is not new[-1]


def test_one_that_changed_is_all_there_is() -> None:
    before = tuple(OBJECTS)
    after = (*before[:2], object(), *before[3:])
    assert edited(before, after) == (slice(2, 3), slice(2, 3))
    assert edited(before, before) == (slice(0, 0), slice(0, 0))
    assert edited(before, before[1:]) == (slice(0, 1), slice(0, 0))

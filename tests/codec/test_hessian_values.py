"""The arguments of a Dubbo call are stepped over to the very byte, whatever they hold."""

from __future__ import annotations

import random

from hessian_ends import finds_mark, wrong_ends
from hessian_frames import GOLDEN_VALUES, Body, call, parse
from hessian_writer import Writer
from hypothesis import given, settings
from hypothesis import strategies as st


def test_values_of_hessian_lite_end_where_its_full_reader_ended() -> None:
    bodies = [body for line in GOLDEN_VALUES.read_text().splitlines() if (body := parse(line))]
    assert len(bodies) == 300
    assert [text for body in bodies for text in wrong_ends(body)] == []


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**63))
def test_values_in_every_form_of_the_grammar_end_where_they_were_written_to(seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(chance)
    data, ends = b"", []
    for _ in range(chance.randint(1, 5)):
        data += writer.value()
        ends.append(len(data))
    assert wrong_ends(Body(seed, tuple(ends), data)) == []


def test_the_mark_is_not_found_where_the_arguments_are_not_what_they_are_said_to_be() -> None:
    assert finds_mark(call(b"\x90\x91", 2))
    assert not finds_mark(call(b"\x90\x91", 1))
    assert not finds_mark(call(b"\x90\x91", 3))

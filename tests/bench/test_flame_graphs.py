"""The flame graph of a profile shows every function by its share."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from runner import flame

PERF = """\
meltemi-0
\t    7f01 meltemi_proxy::worker::flush::h0123456789abcdef (/x/_engine.abi3.so)
\t    7f02 core::ops::function::FnOnce::call_once (a<b>) (/x/_engine.abi3.so)

meltemi-0
\tffffffff81 tcp_sendmsg ([kernel.kallsyms])
\t    7f01 meltemi_proxy::worker::flush::h0123456789abcdef (/x/_engine.abi3.so)
\t    7f02 core::ops::function::FnOnce::call_once (a<b>) (/x/_engine.abi3.so)

meltemi-0
\t    0000 [unknown] (/lib/libc.so.6)
"""
OUTER = "core::ops::function::FnOnce::call_once (a<b>)"


def test_stacks_are_read_from_the_profilers_text_outermost_first() -> None:
    assert flame.stacks(PERF.splitlines()) == {
        ("meltemi-0", OUTER, "meltemi_proxy::worker::flush"): 1,
        ("meltemi-0", OUTER, "meltemi_proxy::worker::flush", "tcp_sendmsg_k"): 1,
        ("meltemi-0", "[libc.so.6]"): 1,
    }


def test_each_function_is_a_box_as_wide_as_its_share() -> None:
    drawn = flame.svg(flame.stacks(PERF.splitlines()), "a & b")
    root = ElementTree.fromstring(drawn)
    spaces = {"s": "http://www.w3.org/2000/svg"}
    widths = {}
    for box in root.findall("s:g", spaces):
        title, rectangle = box.find("s:title", spaces), box.find("s:rect", spaces)
        assert title is not None and title.text and rectangle is not None
        name = title.text.rpartition(": ")[0]
        widths[name] = round(float(rectangle.attrib["width"]) / flame.WIDTH, 2)
    assert widths == {
        "all": 1.0,
        "meltemi-0": 1.0,
        OUTER: 0.67,
        "meltemi_proxy::worker::flush": 0.67,
        "tcp_sendmsg_k": 0.33,
        "[libc.so.6]": 0.33,
    }


def test_a_profile_without_samples_is_an_error_not_an_empty_picture() -> None:
    with pytest.raises(ValueError, match="no samples"):
        flame.svg({}, "nothing")

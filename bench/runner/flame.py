"""Samples of a profiler to a flame graph: an SVG that any browser shows, without a script in it.

Each box is a function; the boxes above it are what it called, and its width is its share of the
samples. The title of a box says its whole name and share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Stack = tuple[str, ...]
"""Functions, the outermost first."""

WIDTH = 1600
ROW = 17
LEAST_WIDTH = 0.4
"""Of a box, in pixels: narrower ones cannot be seen, and are left out."""
LETTER = 6.6
"""Width of a letter at this font size, in pixels."""

_FRAME = re.compile(r"\s+[0-9a-f]+ (?P<name>.*) \((?P<object>[^()]*)\)$")
_HASH = re.compile(r"::h[0-9a-f]{16}$")


def stacks(lines: Iterable[str]) -> Counter[Stack]:
    """Counts the stacks in the output of `perf script -F comm,ip,sym,dso`."""
    counted: Counter[Stack] = Counter()
    frames: list[str] = []
    command = ""
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            frames.append(_named(frame["name"], frame["object"]))
        elif line.strip():
            command = line.strip()
        elif frames:
            counted[(command, *reversed(frames))] += 1
            frames = []
    if frames:
        counted[(command, *reversed(frames))] += 1
    return counted


def _named(name: str, binary: str) -> str:
    """A function as it is shown; `_k` marks the kernel's."""
    name = _HASH.sub("", name)
    if name == "[unknown]":
        return f"[{binary.rpartition('/')[2]}]"
    return f"{name}_k" if "kernel" in binary or binary.startswith("[k") else name


@dataclass(slots=True)
class _Node:
    samples: int = 0
    children: dict[str, _Node] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((child.depth() for child in self.children.values()), default=0)


def svg(counted: Mapping[Stack, int], title: str) -> str:
    """The flame graph of stacks. Raises ValueError when there are none."""
    root = _Node()
    for stack, samples in counted.items():
        node = root
        node.samples += samples
        for name in stack:
            node = node.children.setdefault(name, _Node())
            node.samples += samples
    if not root.samples:
        raise ValueError("there are no samples to draw")
    height = ROW * (root.depth() + 2)
    boxes = "\n".join(_boxes("all", root, root.samples, 0.0, height - ROW - 4))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="monospace" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fffdf7"/>\n'
        f'<text x="8" y="{ROW - 3}">{escape(title)}</text>\n{boxes}\n</svg>\n'
    )


def _boxes(name: str, node: _Node, total: int, left: float, top: float) -> Iterator[str]:
    width = WIDTH * node.samples / total
    if width < LEAST_WIDTH:
        return
    share = f"{escape(name)}: {node.samples / total:.2%}, {node.samples} samples"
    letters = int((width - 4) / LETTER)
    shown = name if len(name) <= letters else f"{name[: letters - 1]}…"
    text = (
        f'<text x="{left + 2:.1f}" y="{top + 12:.1f}">{escape(shown)}</text>' if letters > 2 else ""
    )
    yield (
        f"<g><title>{share}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width - 0.3, 0.1):.1f}" '
        f'height="{ROW - 1}" fill="{_colour(name)}"/>{text}</g>'
    )
    for child_name, child in sorted(node.children.items()):
        yield from _boxes(child_name, child, total, left, top - ROW)
        left += WIDTH * child.samples / total


def _colour(name: str) -> str:
    """The kernel grey-blue, ours orange, others yellow."""
    if name.endswith("_k"):
        return "#b9c8d8"
    return "#f2a65a" if "meltemi" in name else "#f3dd8a"

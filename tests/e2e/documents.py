"""The documents of the project, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "examples/thrift/README.md",
    "examples/dubbo/README.md",
    "examples/proxyless/README.md",
    "examples/bookinfo/README.md",
    "examples/bookinfo-istiod/README.md",
    "docs/configuration.md",
    "docs/commands.md",
    "docs/operations.md",
    "docs/without-sidecar.md",
    "docs/proxyless-guide.md",
    "docs/lanes.md",
)
PAGES = (*DOCUMENTS, "docs/proxyless.md", "docs/proxyless-http-grpc.md", "docs/proxyless-thrift.md")
"""With those whose examples are run in `tests/proxyless`."""
_BLOCK = re.compile(
    r"(?:^<!-- test: ([^\n]*?) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block of code; `mark` is what stands in `<!-- test: MARK -->` before it, or ""."""

    line: int
    mark: str
    language: str
    text: str


def read(document: str) -> str:
    return (ROOT / document).read_text()


def blocks(document: str) -> list[Block]:
    text = read(document)
    return [
        Block(text.count("\n", 0, found.start()) + 1, found[1] or "", found[2], found[3])
        for found in _BLOCK.finditer(text)
    ]


def block(document: str, mark: str) -> Block:
    """The block behind `<!-- test: MARK -->`."""
    found = next((each for each in blocks(document) if each.mark == mark), None)
    assert found, f"{document} has no block marked {mark}"
    return found


def section(document: str, title: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", read(document), re.M | re.S)
    assert found, f"{document} has no section {title}"
    return found[1]


def table(document: str, mark: str) -> list[list[str]]:
    """The cells of the rows of the table behind `<!-- test: MARK -->`, without its head."""
    _, _, behind = read(document).partition(f"<!-- test: {mark} -->\n")
    assert behind, f"{document} has no table marked {mark}"
    rows = behind.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def steps(console: str) -> Iterator[tuple[str, str]]:
    """Each command with the lines behind it."""
    for step in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        yield command, expected


def _plain(text: str) -> str:
    """What differs from run to run as one word, and one space where there are several."""
    for pattern, word in (
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"127\.\d+\.\d+\.\d+", "ADDRESS"),
        (r"\b[0-9a-f]{16}\b", "VERSION"),
        (r"[ \t]+", " "),
        (
            r"(?<=pid )\d+|(?<= )\d+(?= (?:-|ADDRESS) \d)|(?<=http://ADDRESS:)\d+|\b\d{5,}\b",
            "NUMBER",
        ),
        (r"\b\d+[smhd]\b", "AGE"),
    ):
        text = re.sub(pattern, word, text)
    return "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())


def is_as_shown(expected: str, shown: str) -> bool:
    """Whether a command prints what the page shows.

    `…` is anything within a line; alone on a line, any lines."""
    lines = [
        "(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
        for line in _plain(expected).splitlines()
    ]
    return re.fullmatch("".join(lines), _plain(shown)) is not None

"""The documents of the project, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "examples/thrift/README.md",
    "examples/dubbo/README.md",
    "examples/proxyless/README.md",
    "docs/configuration.md",
    "docs/commands.md",
    "docs/operations.md",
    "docs/without-sidecar.md",
    "docs/proxyless-guide.md",
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

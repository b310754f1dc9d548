"""One file, read again after each save: only the documents whose text changed are read.

The result is that of `meltemi.config.load.read`, to the line. A file is cut at its `---` lines; a
piece that was there before brings its objects along, those behind a line that came or went are
moved. What only the whole file tells (anything that cannot be read) is left to `load.read`.
Used by `meltemi.config.last_good`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from meltemi.config import check
from meltemi.config.check import Checked
from meltemi.config.documents import (
    MAX_DOCUMENTS,
    Document,
    is_cut,
    parse,
    parse_piece,
    pieces,
    text_of,
)
from meltemi.config.issues import Issue
from meltemi.config.load import Read, Source, read, read_of

_OTHER_BREAKS = ("\x85", "\u2028", "\u2029")  # which YAML counts as ends of lines too


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands in a piece of the file, and on which line (from 0) that begins."""

    line: int
    documents: int
    checked: tuple[Checked, ...]

    def at(self, line: int) -> _Piece:
        if line == self.line:
            return self
        by = line - self.line
        moved: dict[int, Document] = {}
        return _Piece(line, self.documents, tuple(_moved(one, by, moved) for one in self.checked))


_Found = tuple[str, _Piece]
"""The text of a piece, and what is in it."""


class FileReader:
    """Remembers the pieces of one file."""

    def __init__(self, default_namespace: str = "default") -> None:
        self._namespace = default_namespace
        self._pieces: list[_Found] = []

    def read(self, source: Source) -> Read:
        """The same as `load.read`. Never raises for what is in the file."""
        text = text_of(source.file, source.content)
        if isinstance(text, Issue) or text.lstrip()[:1] in ("{", "["):
            return read(source, self._namespace)
        if not text.isascii() and any(each in text for each in _OTHER_BREAKS):
            return read(source, self._namespace)
        found = self._again(source.file, text) if self._pieces else None
        if found is None:
            found = self._whole(source.file, text)
        if found is None:
            return read(source, self._namespace)
        self._pieces = found
        return read_of(source.file, [one for _, piece in found for one in piece.checked])

    def _again(self, file: str, text: str) -> list[_Found] | None:
        """Each piece with what is in it; None where only the whole file tells."""
        before = self._pieces
        head = _head(before, text)
        start = sum(len(piece) for piece, _ in before[:head])
        tail = _tail(before[head:], text, start)
        end = len(text) - sum(len(piece) for piece, _ in before[len(before) - tail :])
        line = _line_behind(before[head - 1]) if head else 0
        known = dict(before[head : len(before) - tail])
        found = before[:head]
        for piece in pieces(text[start:end]) if start < end or not (head or tail) else ():
            again = known.get(piece)
            if again is None:
                documents = parse_piece(file, piece, line)
                if documents is None:
                    return None
                again = self._piece(line, documents)
            found.append((piece, again.at(line)))
            line += piece.count("\n")
        behind = before[len(before) - tail :]
        by = line - behind[0][1].line if behind else 0
        found += [(piece, one.at(one.line + by)) for piece, one in behind] if by else behind
        return found if sum(one.documents for _, one in found) <= MAX_DOCUMENTS else None

    def _whole(self, file: str, text: str) -> list[_Found] | None:
        """The same from one walk over the file, which is faster where all of it is new."""
        documents, issues = parse(file, text)
        if issues or not all(isinstance(document.value, dict) for document in documents):
            return None
        found: list[_Found] = []
        start = line = 0
        for piece in pieces(text):
            next_line = line + piece.count("\n")
            last = not piece.endswith("\n")  # its last line has no end
            end = start
            while end < len(documents) and (last or documents[end].line < next_line):
                end += 1
            found.append((piece, self._piece(line, documents[start:end])))
            start, line = end, next_line
        return found

    def _piece(self, line: int, documents: list[Document]) -> _Piece:
        checked = (one for each in documents for one in check.document(each, self._namespace))
        return _Piece(line, len(documents), tuple(checked))


def _head(before: Sequence[_Found], text: str) -> int:
    """How many pieces `text` begins with, as they were."""
    count = at = 0
    for piece, _ in before:
        if not (piece.endswith("\n") and text.startswith(piece, at)):
            break
        count, at = count + 1, at + len(piece)
    while count and not is_cut(text, at):
        count -= 1
        at -= len(before[count][0])
    return count


def _tail(before: Sequence[_Found], text: str, start: int) -> int:
    """How many of the last pieces `text` ends with, as they were, from `start` on. The first one
    is not asked: only what begins with `---` is a piece wherever it stands."""
    count = 0
    at = len(text)
    for piece, _ in before[:0:-1]:
        if not text.endswith(piece, start, at):
            break
        count, at = count + 1, at - len(piece)
    while count and not is_cut(text, at):
        at += len(before[-count][0])
        count -= 1
    return count


def _line_behind(found: _Found) -> int:
    return found[1].line + found[0].count("\n")


def _moved(one: Checked, by: int, documents: dict[int, Document]) -> Checked:
    """`documents`: those that were moved before, since the items of a List share theirs."""
    issues = tuple(issue.moved(by) for issue in one.issues)
    value = one.value
    if value is not None:
        key = id(value.document)
        if key not in documents:
            documents[key] = value.document.moved(by)
        value = replace(value, line=value.line + by, document=documents[key])
    return Checked(one.ref, value, issues)

"""YAML and JSON text into documents that know the line and column of each key and value.

Reads as kubectl does, from the events of libyaml. Bounded: bytes and documents of a file, depth
and nodes of a document, aliases counted as what they expand to. Next: `meltemi.config.load`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from meltemi.config import scalars
from meltemi.config.issues import Issue, Path, written

MAX_FILE_BYTES = 16 << 20  # a generated file of CRDs has 1 MB
MAX_DOCUMENTS = 20_000
MAX_ERRORS = 100  # of one file: what comes behind is not read
MAX_DEPTH = 100  # of Istio's and Kubernetes' kinds none is deeper than 30
MAX_NODES = 200_000  # of one document, aliases expanded

Value = Any
"""What JSON has: dict with str keys, list, str, int, float, bool, None."""

_SEPARATOR = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_COLUMNS = 32  # low bits of a mark


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. Its marks follow the order of a walk over `value`."""

    file: str
    value: Value
    marks: array[int] = field(repr=False, compare=False)
    flaws: tuple[Issue, ...] = ()
    """Errors that do not hide the rest: keys that are there twice (the first one counts)."""

    def place(self, path: Path = ()) -> tuple[int, int]:
        """Line and column (from 1) of the key at `path`, or of the nearest that is there."""
        mark, at, value = self.marks[0], 0, self.value
        for step in path:
            found = _child(value, at, step)
            if found is None:
                break
            mark, at, value = self.marks[found[0]], found[1], found[2]
        return (mark >> _COLUMNS) + 1, (mark & ((1 << _COLUMNS) - 1)) + 1

    @property
    def line(self) -> int:
        """The line (from 0) on which its value begins."""
        return self.marks[0] >> _COLUMNS

    def moved(self, lines: int) -> Document:
        """The same document, so many lines further down."""
        down = lines << _COLUMNS
        marks = array("Q", [mark + down for mark in self.marks])
        flaws = tuple(flaw.moved(lines) for flaw in self.flaws)
        return Document(self.file, self.value, marks, flaws)


class _Bad(Exception):
    """A document that cannot be read; `mark` is where."""

    def __init__(self, mark: Any, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.column = mark.line, mark.column
        self.code, self.message, self.hint = code, message, hint


def parse(file: str, content: bytes | str) -> tuple[list[Document], list[Issue]]:
    """The documents of `content` (empty ones left out), and what cannot be read of it.

    One broken document does not hide the next: reading goes on at the next `---`."""
    text = text_of(file, content)
    if isinstance(text, Issue):
        return [], [text]
    if text.lstrip()[:1] in ("{", "["):
        text = text.replace("\t", " ")  # JSON's white space, which YAML does not take
    documents: list[Document] = []
    issues: list[Issue] = []
    offset = line = 0
    while True:
        reader = _Reader(file, line, documents, issues)
        stopped = reader.read(text[offset:])
        if stopped is None or len(issues) >= MAX_ERRORS:
            break
        behind = _offset_of_line(text, offset, stopped - line)
        separator = _SEPARATOR.search(text, max(behind, offset + 3))
        if separator is None:
            break
        line += text.count("\n", offset, separator.start())
        offset = separator.start()
    if not documents and [issue.code for issue in issues] == ["yaml-syntax"]:
        as_json = _json(file, text)
        if as_json is not None:
            return [as_json], []
    return documents, issues


def text_of(file: str, content: bytes | str) -> str | Issue:
    """The content as text with `\\n` for every end of a line, or why it is none."""
    if isinstance(content, bytes):
        if len(content) > MAX_FILE_BYTES:
            return _whole_file(
                file, "yaml-too-large", f"the file has {len(content)} bytes",
                f"split it: at most {MAX_FILE_BYTES} bytes",
            )  # fmt: skip
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        try:
            content = content.decode("utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError as error:
            return _whole_file(
                file, "yaml-encoding", f"byte {error.start} is not UTF-8", "save it as UTF-8"
            )
    return content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def pieces(text: str) -> list[str]:
    """The text of `text_of`, cut before each line that is nothing but `---`."""
    found: list[str] = []
    start = at = 0
    while (at := text.find("\n---", at)) >= 0:
        at += 1
        if _SEPARATOR.match(text, at):
            found.append(text[start:at])
            start = at
    found.append(text[start:])
    return found


def is_cut(text: str, at: int) -> bool:
    """Whether `pieces` cuts there, or the text begins or ends there."""
    if at in (0, len(text)):
        return True
    return text[at - 1] == "\n" and _SEPARATOR.match(text, at) is not None


def parse_piece(file: str, piece: str, line: int) -> list[Document] | None:
    """The documents of one of `pieces`, which begins on `line` (from 0) of the file.

    None where only the whole file tells: for what is wrong, and for anything but mappings, since
    the text of a document that is one block of text may go on behind a `---`."""
    documents: list[Document] = []
    issues: list[Issue] = []
    _Reader(file, line, documents, issues).read(piece)
    if issues or not all(isinstance(document.value, dict) for document in documents):
        return None
    return documents


def _whole_file(file: str, code: str, message: str, hint: str) -> Issue:
    return Issue(file, 1, 1, "", "error", code, message, hint)


def _offset_of_line(text: str, start: int, lines: int) -> int:
    """Where the line begins that is `lines` lines behind `start`."""
    for _ in range(lines):
        end = text.find("\n", start)
        if end < 0:
            return len(text)
        start = end + 1
    return start


def _json(file: str, text: str) -> Document | None:
    """JSON that YAML cannot read, such as escaped surrogates: every place is the first."""
    try:
        value = json.loads(text)
        count = _size(value)
    except (ValueError, RecursionError):
        return None
    if count > MAX_NODES or _depth(value) > MAX_DEPTH:
        return None
    return Document(file, value, array("Q", [0]) * count)


def _depth(value: Value) -> int:
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)) or not value:
        return 0
    return 1 + max(_depth(child) for child in children)


class _Reader:
    """Turns libyaml's events into values and marks, appended to what it was given."""

    def __init__(
        self, file: str, line: int, documents: list[Document], issues: list[Issue]
    ) -> None:
        self.file, self.line, self.documents, self.issues = file, line, documents, issues
        self.marks: array[int] = array("Q")
        self.anchors: dict[str, tuple[Value, array[int]]] = {}
        self.flaws: list[Issue] = []
        self.path: list[str | int] = []

    def read(self, text: str) -> int | None:
        """Reads to the end, or to the first error: then the line (of the file) it is on."""
        try:
            loader = yaml.CSafeLoader(text)
        except yaml.YAMLError as error:
            return self._failed(*_syntax(error))
        try:
            for document in self._documents(loader):
                self.documents.append(document)
        except _Bad as bad:
            return self._failed(bad.line, bad.column, bad.code, bad.message, bad.hint)
        except yaml.YAMLError as error:
            return self._failed(*_syntax(error))
        finally:
            loader.dispose()
        return None

    def _failed(self, line: int, column: int, code: str, message: str, hint: str) -> int:
        line += self.line
        self.issues.append(Issue(self.file, line + 1, column + 1, "", "error", code, message, hint))
        return line

    def _documents(self, loader: Any) -> Iterator[Document]:
        while True:
            event = loader.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if len(self.documents) >= MAX_DOCUMENTS:
                raise _Bad(
                    event.start_mark, "yaml-too-large",
                    f"the file has more than {MAX_DOCUMENTS} documents", "split it",
                )  # fmt: skip
            self.marks, self.anchors, self.flaws, self.path = array("Q"), {}, [], []
            value = self._value(loader, loader.get_event(), 0)
            if value is not None:
                yield Document(self.file, value, self.marks, tuple(self.flaws))

    def _room(self, mark: Any, count: int) -> None:
        if len(self.marks) + count > MAX_NODES:
            raise _Bad(
                mark, "yaml-too-large", f"the document has more than {MAX_NODES} values",
                "aliases count as what they stand for",
            )  # fmt: skip

    def _mark(self, mark: Any) -> None:
        self._room(mark, 1)
        self.marks.append(((mark.line + self.line) << _COLUMNS) | mark.column)

    def _value(self, loader: Any, event: Any, depth: int) -> Value:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        start = len(self.marks)
        self._mark(event.start_mark)
        if depth > MAX_DEPTH:
            raise _Bad(event.start_mark, "yaml-too-deep", f"nested deeper than {MAX_DEPTH}")
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            self.path.append(0)
            while not isinstance(item := loader.get_event(), yaml.SequenceEndEvent):
                self.path[-1] = len(value)
                value.append(self._value(loader, item, depth + 1))
            self.path.pop()
        else:
            value = self._mapping(loader, depth)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.marks[start:])
        return value

    def _alias(self, event: Any) -> Value:
        known = self.anchors.get(event.anchor)
        if known is None:
            raise _Bad(
                event.start_mark, "yaml-alias", f"*{event.anchor} stands for nothing before it",
                "an alias needs an anchor that ends before it begins",
            )  # fmt: skip
        value, marks = known
        self._room(event.start_mark, len(marks))
        self.marks.extend(marks)
        return value

    def _mapping(self, loader: Any, depth: int) -> dict[str, Value]:
        value: dict[str, Value] = {}
        merged: list[tuple[Value, array[int]]] = []
        while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
            start = len(self.marks)
            key = self._key(event)
            self.path.append(key)
            child = self._value(loader, loader.get_event(), depth + 1)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                merged.append((child, self.marks[start + 1 :]))
                del self.marks[start:]
                _check_merge(event.start_mark, child)
            elif key in value:
                del self.marks[start:]
                self._twice(event.start_mark, key)
            else:
                value[key] = child
            self.path.pop()
        for source, marks in merged:
            self._merge(value, source, marks)
        return value

    def _twice(self, mark: Any, key: str) -> None:
        self.flaws.append(
            Issue(
                self.file,
                mark.line + self.line + 1,
                mark.column + 1,
                written(tuple(self.path)),
                "error",
                "yaml-duplicate-key",
                f"{key} is there twice",
                "keep one of them",
            )
        )

    def _merge(self, value: dict[str, Value], source: Value, marks: array[int]) -> None:
        """Adds what `<<` brings, behind what the mapping says itself."""
        mappings, at = (source, 1) if isinstance(source, list) else ([source], 0)
        for mapping in mappings:
            at += 1
            for key, child in mapping.items():
                size = 1 + _size(child)
                if key not in value:
                    value[key] = child
                    self.marks.extend(marks[at : at + size])
                at += size

    def _key(self, event: Any) -> str:
        value: Value = None
        if isinstance(event, yaml.AliasEvent):
            value = self.anchors.get(event.anchor or "", (None, self.marks))[0]
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        self._mark(event.start_mark)
        key = None if isinstance(value, (dict, list)) else scalars.as_key(value)
        if key is None:
            raise _Bad(event.start_mark, "yaml-key", "a key has to be text", "put it in quotes")
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            self.anchors[event.anchor] = (value, self.marks[-1:])
        return key


def _check_merge(mark: Any, value: Value) -> None:
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict) for part in parts):
        raise _Bad(mark, "yaml-merge", "<< takes mappings only", "write << : *anchor")


def _scalar(event: Any) -> scalars.Scalar:
    text: str = event.value
    tag = event.tag
    if tag is None:
        return scalars.plain(text) if event.implicit[0] else text
    if tag in ("!", "tag:yaml.org,2002:str"):
        return text
    kind = tag.removeprefix("tag:yaml.org,2002:")
    if kind == "binary":
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _Bad(event.start_mark, "yaml-tag", "!!binary does not hold text") from None
    value = scalars.plain(text)
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(kind)
    if wanted is None:
        raise _Bad(
            event.start_mark, "yaml-tag", f"the tag {tag} is not known",
            "documents hold what JSON can hold",
        )  # fmt: skip
    if type(value) is not wanted:
        raise _Bad(event.start_mark, "yaml-tag", f"{text!r} is not of the type {kind}")
    return value


def _syntax(error: yaml.YAMLError) -> tuple[int, int, str, str, str]:
    """Line, column, code, message and hint of libyaml's error."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    context = getattr(error, "context", None)
    message = f"{problem} ({context})" if context else str(problem)
    hint = ""
    if "mapping values are not allowed" in message:
        hint = "check the indentation, and put text that holds ': ' in quotes"
    elif "tab" in message or "cannot start any token" in message:
        hint = "indent with spaces, and put text that begins with this character in quotes"
    return line, column, "yaml-syntax", message, hint


def _size(value: Value) -> int:
    """How many marks a value has: its own, and those of its keys and children."""
    if isinstance(value, dict):
        return 1 + sum(1 + _size(child) for child in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(child) for child in value)
    return 1


def _child(value: Value, at: int, step: str | int) -> tuple[int, int, Value] | None:
    """Marks of the key and of the value of a child, and the child."""
    at += 1
    if isinstance(value, dict):
        for key, child in value.items():
            if key == step:
                return at, at + 1, child
            at += 1 + _size(child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            if index == step:
                return at, at, child
            at += _size(child)
    return None

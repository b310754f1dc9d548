"""What is wrong with the operators' documents, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

Severity = Literal["error", "warning"]
Step = str | int
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding at its place; `line` and `column` count from 1, 0 where no place is known.

    `code` is stable: scripts may rely on it. `hint` says what would be right."""

    file: str
    line: int
    column: int
    path: str
    severity: Severity
    code: str
    message: str
    hint: str = ""

    def moved(self, lines: int) -> Issue:
        """The same finding, so many lines further down."""
        return replace(self, line=self.line + lines) if self.line else self

    def as_json(self) -> dict[str, str | int]:
        """The shape of `validate -o json`."""
        return asdict(self)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.severity}: {self.message}"


@dataclass(frozen=True, slots=True)
class Finding:
    """An issue whose path is not yet mapped to a line: what schemas and rules give."""

    path: Path
    severity: Severity
    code: str
    message: str
    hint: str = ""


def written(path: Path) -> str:
    """`spec.routes[0].match` - keys that hold dots in quotes."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        elif step and all(c.isalnum() or c in "-_" for c in step):
            words += f".{step}" if words else step
        else:
            quoted = step.replace("\\", "\\\\").replace('"', '\\"')
            words += f'["{quoted}"]'
    return words


def errors(issues: Iterable[Issue]) -> list[Issue]:
    """Those that make a document invalid."""
    return [issue for issue in issues if issue.severity == "error"]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: `did you mean …?`, or "" where no known word is near."""
    by_lower = {name.lower(): name for name in known}
    plain = word.replace("_", "").lower()
    near = difflib.get_close_matches(plain, list(by_lower), 1, 0.6)
    return f"did you mean {by_lower[near[0]]}?" if near else ""

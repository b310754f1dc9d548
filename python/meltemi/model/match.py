"""Which requests a rule is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One attribute's condition. `present` is what `{}` and `exact: ""` mean."""

    kind: Literal["exact", "prefix", "regex", "present"]
    value: str = ""

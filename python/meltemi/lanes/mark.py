"""The mark of a lane: a member `key=value` of W3C baggage, found wherever in the header it is.

Source of the grammar: https://www.w3.org/TR/baggage/#definition. A comma always ends a member and
a semicolon begins its properties; neither can stand in a key or in a value unless it is encoded.
"""

from __future__ import annotations

import re
import string

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
_SPACE = r"[ \t]*"


def mark_pattern(key: str, value: str) -> str:
    """A regular expression for the whole header, of RE2's syntax, anchored for who would search.

    A value's characters may be percent-encoded one by one, in either case of hexadecimal digits;
    a key is never encoded."""
    wanted = "".join(_either(byte) for byte in value.encode())
    member = f"{_SPACE}{re.escape(key)}{_SPACE}={_SPACE}{wanted}{_SPACE}"
    return f"^(?:.*,)?{member}(?:[;,].*)?$"


def _either(byte: int) -> str:
    """A byte of a value as it is, or percent-encoded."""
    digits = f"{byte:02X}"
    encoded = "%" + "".join(d if d.isdigit() else f"[{d}{d.lower()}]" for d in digits)
    return f"(?:{re.escape(chr(byte))}|{encoded})" if chr(byte) in _PLAIN else encoded

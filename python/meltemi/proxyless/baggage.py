"""W3C Baggage: the header's text to values and back, member by member.

Values live in OpenTelemetry's own baggage (`opentelemetry.baggage`), so applications read and set
them there. A value that came over the wire is a `Value`: a string that remembers its properties and
how it was written, so that a member that nobody changed leaves as it came. OpenTelemetry's own
propagator takes `a=b;p=1` for the value `b;p=1`, and a plus for a space; hence this one.

Source of the rules: https://www.w3.org/TR/baggage/. `context` says when each way is gone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote, unquote

from opentelemetry import baggage
from opentelemetry.context import Context

MAX_MEMBERS = 180  # of the header's grammar
MAX_BYTES = 8192  # of one header, which every platform has to let through

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_OCTETS = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_PROPERTY = rf"{_TOKEN}(?:[ \t]*=[ \t]*{_OCTETS})?"
_KEY_FORM = re.compile(_TOKEN)
_MEMBER_FORM = re.compile(
    rf"({_TOKEN})[ \t]*=[ \t]*({_OCTETS})((?:[ \t]*;[ \t]*{_PROPERTY})*)", re.ASCII
)
# The octets of a value that quote() would encode, but % - and +, which OpenTelemetry's propagator
# for Python reads as a space.
_SAFE = "!#$&'()*-./:<=>?@[]^_`{|}~"

_log = logging.getLogger("meltemi.proxyless")
_said: set[str] = set()


class Value(str):
    """A member's decoded value, with its properties.

    `properties` holds (key, value) pairs, percent-decoded; the value is None for a property without
    one. `written` is the text after the member's `=`, properties included; of members with one key
    that of all, the last one at the end.
    """

    __slots__ = ("properties", "written")
    properties: tuple[tuple[str, str | None], ...]
    written: str

    def __new__(cls, value: str, properties: Iterable[tuple[str, str | None]] = ()) -> Value:
        properties = tuple(properties)
        written = quote(value, safe=_SAFE)
        for key, text in properties:
            if not _KEY_FORM.fullmatch(key):
                raise ValueError(f"baggage property {key!r}: want a token of RFC 7230")
            written += f";{key}" if text is None else f";{key}={quote(text, safe=_SAFE)}"
        return cls._of(value, properties, written)

    @classmethod
    def _of(cls, value: str, properties: tuple[tuple[str, str | None], ...], written: str) -> Value:
        made = super().__new__(cls, value)
        made.properties = properties
        made.written = written
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return (Value._of, (str(self), self.properties, self.written))


@lru_cache(maxsize=256)
def parse(header: str) -> Mapping[str, Value]:
    """The members of a `baggage` header, by key; several headers are joined by commas before.

    A member that is not of the grammar is left out as a whole, as is what lies beyond the limits;
    each kind of fault is logged once a process, without values. Of members with one key the last
    counts, and all travel on: a proxy may go by another one.
    """
    members: dict[str, Value] = {}
    count = end = 0
    for member in header.split(","):
        end += len(member) + 1
        text = member.strip(" \t")
        if not text:
            continue
        if end - 1 > MAX_BYTES:
            _say_once("size", f"received baggage is longer than {MAX_BYTES} bytes; cut there")
            break
        if count == MAX_MEMBERS:
            _say_once("count", f"received baggage has more than {MAX_MEMBERS} members; cut there")
            break
        found = _MEMBER_FORM.fullmatch(text)
        if found is None:
            key = text.partition("=")[0][:40]
            _say_once("form", f"received baggage member {key!r} is malformed; left out")
            continue
        count += 1
        members[found[1]] = _after(members.get(found[1]), found[1], _value(found[2], found[3]))
    return MappingProxyType(members)


def _after(before: Value | None, key: str, value: Value) -> Value:
    """`value`, that leaves behind those of its key that came before it."""
    if before is None:
        return value
    return Value._of(str(value), value.properties, f"{before.written},{key}={value.written}")


def _value(value: str, tail: str) -> Value:
    if not tail:
        return Value._of(_decoded(value), (), value)
    properties: list[tuple[str, str | None]] = []
    written = value
    for part in tail.split(";")[1:]:
        key, equals, text = (piece.strip(" \t") for piece in part.partition("="))
        properties.append((key, _decoded(text) if equals else None))
        written += f";{key}{equals}{text}"
    return Value._of(_decoded(value), tuple(properties), written)


def _decoded(text: str) -> str:
    """What is no UTF-8 becomes U+FFFD, and a lone percent sign stays, as the standard has it."""
    return unquote(text, errors="replace") if "%" in text else text


def formatted(members: Mapping[str, object]) -> str:
    """The header that says `members`; "" for none.

    Members beyond the limits, and those whose key is no token, are left out whole; each kind is
    logged once a process.
    """
    written: list[str] = []
    size = -1
    for key, value in members.items():
        if not _KEY_FORM.fullmatch(key):
            _say_once("key", f"baggage key {key[:40]!r} cannot travel: want a token of RFC 7230")
            continue
        text = value.written if isinstance(value, Value) else quote(str(value), safe=_SAFE)
        size += len(key) + len(text) + 2
        if size > MAX_BYTES or len(written) == MAX_MEMBERS:
            _say_once("sent", f"baggage beyond {MAX_MEMBERS} members or {MAX_BYTES} bytes stays")
            break
        written.append(f"{key}={text}")
    return ",".join(written)


def appended(header: str, members: Mapping[str, object]) -> str:
    """`header` as it is, and behind it those of `members` whose keys it does not have."""
    held = parse(header)
    missing = {key: value for key, value in members.items() if key not in held}
    text = formatted(missing)
    if not text or len(header) + 1 + len(text) > MAX_BYTES:
        return header
    return f"{header},{text}" if header.strip(" \t,") else text


def current(context: Context | None = None) -> Mapping[str, object]:
    """The members of `context`, by default of OpenTelemetry's current one."""
    return baggage.get_all(context)


def replaced(members: Mapping[str, object], context: Context) -> Context:
    """`context` with `members` for its whole baggage."""
    if baggage.get_all(context):
        context = baggage.clear(context)
    for key, value in members.items():
        context = baggage.set_baggage(key, value, context)
    return context


def _say_once(kind: str, text: str) -> None:
    if kind not in _said:
        _said.add(kind)
        _log.warning("%s", text)

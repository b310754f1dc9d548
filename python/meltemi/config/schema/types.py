"""What the schemas are made of: Kubernetes' structural types and Istio's JSON forms of proto3.

A field is written in snake_case here and in camelCase in YAML. `null` counts as absent, as the
Kubernetes API server prunes it. `NotYet` marks what is valid but does nothing yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Schema(BaseModel):
    """A mapping with known fields only."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        regex_engine="rust-regex",
    )


@dataclass(frozen=True, slots=True)
class NotYet:
    """The field is valid, its behaviour is not there yet.

    `but` are values that ask for nothing and need no warning. `hint` says what happens instead;
    where it is about security, that requests are refused: it must not be left out in silence.
    `unless` says of the whole spec, as written, whether the behaviour is there for it."""

    but: tuple[Any, ...] = (None, False, 0, "", {}, [])
    hint: str = "the field has no effect"
    unless: Callable[[Any], bool] | None = None

    def holds(self, spec: Any) -> bool:
        """Whether the behaviour is not there for an object with this spec."""
        return self.unless is None or not self.unless(spec)

    def asked(self, value: Any) -> bool:
        """Whether `value` asks for the behaviour."""
        return not any(value == nothing and type(value) is type(nothing) for nothing in self.but)


not_yet = NotYet()


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 80.0 is 80."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict) and None in value.values():
        return {key: item for key, item in value.items() if item is not None}
    return value


def _int_or_string(value: Any) -> Any:
    value = _whole(value)
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("wrong-type", "neither a number nor text")


IntOrString = Annotated[Any, BeforeValidator(_int_or_string)]
Integer = Annotated[int, BeforeValidator(_whole)]
Int32 = Annotated[Integer, Field(ge=-(2**31), lt=2**31)]
UInt32 = Annotated[Integer, Field(ge=0, lt=2**32)]
UInt64 = Annotated[Integer, Field(ge=0, lt=2**64)]
Port = Annotated[Integer, Field(ge=1, le=65535)]
Percent = Annotated[Integer, Field(ge=0, le=100)]

Labels = Annotated[dict[str, str], BeforeValidator(_without_nulls)]

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_UNITS_NS = {unit: round(seconds * 1_000_000_000) for unit, seconds in _UNITS_S.items()}
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_NS = 2**63 - 1


def duration_ns(text: str) -> int | None:
    """Nanoseconds of `1.5s`, `100ms`, `1h30m` (Go's time.ParseDuration); None where it is none."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = at = 0
    while at < len(rest):
        part = _DURATION_PART.match(rest, at)
        if part is None or not (part[1] or part[2]) or len(part[0]) > 64:
            return None
        unit = _UNITS_NS[part[3]]
        total += int(part[1] or "0") * unit
        if part[2]:
            total += int(part[2]) * unit // 10 ** len(part[2])
        at = part.end()
    if not rest or total > _LONGEST_NS:
        return None
    return -total if text[0] == "-" else total


_MS = 1_000_000


def _any_duration(text: str) -> str:
    if duration_ns(text) is None:
        raise PydanticCustomError(
            "bad-duration", "{text} is no duration",
            {"text": repr(text), "hint": "a number and its unit, such as 1.5s, 100ms, 1h30m"},
        )  # fmt: skip
    return text


def _duration_or_zero(text: str) -> str:
    nanoseconds = duration_ns(_any_duration(text)) or 0
    if nanoseconds % _MS or nanoseconds < 0:
        raise PydanticCustomError(
            "bad-duration", "{text} is not a whole number of milliseconds",
            {"text": repr(text), "hint": "write whole milliseconds, such as 1.5s or 100ms"},
        )  # fmt: skip
    return text


def _duration(text: str) -> str:
    if not duration_ns(_duration_or_zero(text)):
        raise PydanticCustomError(
            "bad-duration", "{text} is too short",
            {"text": repr(text), "hint": "at least 1ms; leave the field out for its default"},
        )  # fmt: skip
    return text


def _positive_duration(text: str) -> str:
    if (duration_ns(_any_duration(text)) or 0) <= 0:
        raise PydanticCustomError(
            "bad-duration", "{text} is no time to wait",
            {"text": repr(text), "hint": "above 0, such as 60s, 1m30s, 20ms"},
        )  # fmt: skip
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""At least 1 ms and in whole milliseconds, as Istio's `ValidateDuration` wants it."""
DurationOrZero = Annotated[str, AfterValidator(_duration_or_zero)]
AnyDuration = Annotated[str, AfterValidator(_any_duration)]
PositiveDuration = Annotated[str, AfterValidator(_positive_duration)]
"""At least a nanosecond."""


def seconds(text: str | None) -> float | None:
    """A valid duration in seconds."""
    nanoseconds = duration_ns(text) if text is not None else None
    return nanoseconds / 1e9 if nanoseconds is not None else None


def pairs(labels: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """A mapping as the model holds it: sorted, hashable."""
    return tuple(sorted((labels or {}).items()))


def texts(values: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(values or ())

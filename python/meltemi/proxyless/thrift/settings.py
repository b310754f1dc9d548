"""What the user of a client said about it, parsed once."""

from dataclasses import dataclass
from typing import Any, Final

from meltemi.proxyless.thrift.calls import Caller
from meltemi.proxyless.thrift.limits import Limit
from meltemi.proxyless.thrift.wire import Wire

# What `wire=` may be; "auto" asks each endpoint what it knows.
WIRES: Final = {
    "auto": None,
    "ttheader": Wire.TTHEADER,
    "theader": Wire.THEADER,
    "framed": Wire.FRAMED,
    "unframed": Wire.UNFRAMED,
}
CONNECT_TIMEOUT_S: Final = 1.0


class NotSaid:
    """The value of an argument that nobody gave."""

    def __repr__(self) -> str:
        return "not said"


NOT_SAID: Final = NotSaid()


@dataclass(frozen=True, slots=True)
class Settings:
    """One client's settings. `wire` None: what each endpoint speaks is asked."""

    target: str
    caller: Caller
    wire: Wire | None
    limit: Limit
    connect_timeout_s: float

    @classmethod
    def parse(
        cls,
        target: Any,
        service: Any,
        wire: str,
        timeout_s: float | NotSaid | None,
        connect_timeout_s: float,
        caller: str,
    ) -> "Settings":
        """ValueError says what an argument is and what it should be."""
        if wire not in WIRES:
            raise ValueError(f"wire is {wire!r}: want one of {', '.join(map(repr, WIRES))}")
        if connect_timeout_s <= 0:
            raise ValueError(f"connect_timeout_s is {connect_timeout_s}: want seconds above 0")
        limit = Limit() if isinstance(timeout_s, NotSaid) else Limit.of(timeout_s)
        said_s = None if limit.is_default else limit.said_s
        return cls(
            target=target.text,
            caller=Caller(
                service=service.__name__,
                to_service=target.host,
                from_service=caller,
                timeout_ms=None if said_s is None else max(1, round(said_s * 1000)),
            ),
            wire=WIRES[wire],
            limit=limit,
            connect_timeout_s=connect_timeout_s,
        )

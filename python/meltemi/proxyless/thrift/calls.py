"""What a call carries: prepared once for a method and its metadata, and used for as long as both
stay.

From `context.outgoing()` to the attributes that routes match and to the bytes that stand before the
arguments. Metadata travel as Kitex writes them: `RPC_TRANSIT_baggage`, `RPC_TRANSIT_traceparent`,
`RPC_PERSIST_…`; with THeader the W3C names stand by themselves as well. Attributes are named as the
sidecar names them, so that one rule decides the same for both."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from meltemi.proxyless import metainfo
from meltemi.proxyless.calls import applies
from meltemi.proxyless.context import Outgoing
from meltemi.proxyless.thrift import frames, message, ttheader
from meltemi.proxyless.thrift.errors import MetadataError
from meltemi.proxyless.thrift.service import Method
from meltemi.proxyless.thrift.wire import Wire, WireError

# The method that is being served, for the callee to know who asks (`FromMethod`).
SERVING: Final[ContextVar[str | None]] = ContextVar("meltemi_thrift_serving", default=None)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is the same in every call of a client."""

    service: str  # the IDL's name of the service that is called
    to_service: str  # the host that is called
    from_service: str  # "" where nobody said
    # Milliseconds, where the user said how long a call may take: as Kitex, which tells only those.
    timeout_ms: int | None = None


class Prepared:
    """One method with the metadata of one context."""

    __slots__ = ("_head", "_numbers", "_texts", "attributes", "by_wire", "carried", "serving")

    def __init__(
        self, caller: Caller, method: Method, carried: Outgoing, serving: str | None
    ) -> None:
        self.carried = carried
        self.serving = serving
        self._texts = [*carried.thrift.items(), (ttheader.IDL_SERVICE, caller.service)]
        self._numbers = _numbers(caller, method, serving)
        kind = message.ONEWAY if method.oneway else message.CALL
        self._head = message.head(method.wire_name, kind)
        self.by_wire: dict[Wire, frames.Frame] = {}
        self.attributes = self._attributes(method, carried)

    def _attributes(self, method: Method, carried: Outgoing) -> tuple[tuple[str, str], ...]:
        """What routes can match, names in lower case; of one that comes twice, the first holds."""
        service, _, _ = method.wire_name.decode().rpartition(":")
        found = {"method": method.name} | ({"service": service} if service else {})
        pairs = [
            *carried.headers,
            *carried.persistent.items(),
            *carried.transient.items(),
            *self._texts,
            *((NUMBER_NAMES[key], value) for key, value in self._numbers),
        ]
        for name, value in pairs:
            found.setdefault(name.lower(), value)
        return tuple(found.items())

    def frame(self, wire: Wire) -> frames.Frame:
        """Makes messages of encoded arguments, and keeps how in `by_wire`.

        `MetadataError` where the metadata do not fit."""
        texts = self._texts
        if wire is Wire.THEADER:
            texts = [*texts, *self.carried.headers]
        made = self.by_wire[wire] = self._frame(wire, texts)
        return made

    def _frame(self, wire: Wire, texts: Iterable[tuple[str, str]]) -> frames.Frame:
        try:
            return frames.of_bodies(wire, self._head, texts, self._numbers)
        except WireError as error:
            raise MetadataError(str(error)) from None

    def changed(self, wire: Wire, changes: Iterable[tuple[str, str, str]]) -> frames.Frame:
        """The same with what the route changes in its metadata, as `Call.request_changes` has it.

        A name is that of a metadatum, with or without Kitex's prefix, in any case. One that is set
        and not there goes one hop; W3C's headers are written as `outgoing` would."""
        texts = dict(self._texts)
        for action, name, value in changes:
            keys = [key for key in texts if _bare(key) == _bare(name)]
            if not applies(action, there=bool(keys)):
                continue
            for key in keys:
                if action == "remove":
                    del texts[key]
                elif action == "add":
                    texts[key] += f",{value}"
                else:
                    texts[key] = value
            if not keys and action != "remove":
                plain = name == _bare(name)
                texts[metainfo.TRANSIENT_PREFIX + name if plain else name] = value
        return self._frame(wire, texts.items())


def _bare(name: str) -> str:
    """A name without Kitex's prefix, in lower case."""
    name = name.lower()
    for prefix in (metainfo.TRANSIENT_PREFIX, metainfo.PERSISTENT_PREFIX):
        name = name.removeprefix(prefix.lower())
    return name


# The integer keys that a call has, as the sidecar names them.
NUMBER_NAMES: Final = {
    ttheader.FROM_SERVICE: "fromservice",
    ttheader.FROM_METHOD: "frommethod",
    ttheader.TO_SERVICE: "toservice",
    ttheader.TO_METHOD: "tomethod",
    ttheader.MSG_TYPE: "msgtype",
    ttheader.TRANSPORT_TYPE: "transporttype",
    ttheader.RPC_TIMEOUT_MS: "rpctimeout",
}


def _numbers(caller: Caller, method: Method, serving: str | None) -> list[tuple[int, str]]:
    """The integer keys of a call, in the order of the format's worked example."""
    numbers = []
    if caller.from_service:
        numbers.append((ttheader.FROM_SERVICE, caller.from_service))
    if serving:
        numbers.append((ttheader.FROM_METHOD, serving))
    numbers += [
        (ttheader.TO_SERVICE, caller.to_service),
        (ttheader.TO_METHOD, method.name),
        # Kitex writes "call" for oneway calls too.
        (ttheader.MSG_TYPE, "1"),
        (ttheader.TRANSPORT_TYPE, "unframed"),
    ]
    if caller.timeout_ms is not None:
        numbers.append((ttheader.RPC_TIMEOUT_MS, str(caller.timeout_ms)))
    return numbers

"""What a peer speaks, found out before the first call to it: no request is ever sent twice for it.

A probe is the call of a method that no service has, on a connection of its own. A peer that knows
its wire answers that there is no such method; one that does not closes the connection, or says
nothing. So TTHeader is asked first, then THeader, then framed messages, then such without a frame.

What was found holds until a connection to that address ends without a reply or is refused; what is
plain is asked again after `PLAIN_S`, for a peer may learn. No socket here: `blocking` and `aio`
send `PROBES` and show what came back to `judge`."""

import enum
import logging
from typing import Final

from meltemi.proxyless.thrift import frames, message, ttheader
from meltemi.proxyless.thrift.wire import Wire, WireError

_LOG = logging.getLogger("meltemi.proxyless.thrift")

# A name that no service has, and that says in the log of a peer who asked.
METHOD: Final = "meltemi_probe"
# An answer takes a round trip; a server that waits for the rest of what it misread never gives one.
ANSWER_S: Final = 0.5
# What a wait may be shorter than it was told: clocks and kernels count in ticks.
_TICK_S: Final = 0.02
PLAIN_S: Final = 600.0
# The same where a header was met with silence, which may have been a busy moment.
SHORT_PLAIN_S: Final = 60.0
# Endpoints come and go: beyond so many, those of before are asked again.
MAX_KNOWN: Final = 10_000


def _probe(wire: Wire) -> bytes:
    head = message.head(METHOD.encode(), message.CALL)
    numbers = [(ttheader.TO_METHOD, METHOD), (ttheader.MSG_TYPE, "1")]
    return frames.of_bodies(wire, head, (), numbers)(1, b"\x00")


# What is asked, in this order.
PROBES: Final = {
    wire: _probe(wire) for wire in (Wire.TTHEADER, Wire.THEADER, Wire.FRAMED, Wire.UNFRAMED)
}


class Answer(enum.Enum):
    """What became of a probe."""

    YES = enum.auto()
    # The connection was closed, or what came is in no such wire.
    NO = enum.auto()
    # Nothing came in the time that there was.
    SILENCE = enum.auto()


def judge(wire: Wire, data: bytes) -> Answer:
    """What `data` says, the first that came back for the probe of `wire`."""
    try:
        if wire is Wire.UNFRAMED:
            message.read_head(data, 0)
            return Answer.YES
        found = message.place(data)
        if wire is Wire.FRAMED:
            message.read_head(data, found.message_at)
    except WireError:
        return Answer.NO
    same = found.wire is wire or (wire, found.wire) == (Wire.TTHEADER, Wire.TTHEADER_FRAMED)
    return Answer.YES if same else Answer.NO


class _Asked:
    """What one endpoint was asked: the wires that it does not speak, and those it was silent to."""

    def __init__(self) -> None:
        self.refused: set[Wire] = set()
        self.silent_s: dict[Wire, float] = {}


class Verdicts:
    """What the endpoints of one client speak. Any thread may ask at any time.

    `next_question` and `answered` take turns, within one call or over several: a call that has less
    time than an answer may take leaves what it learned to the next."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._known: dict[str, tuple[Wire, float]] = {}
        self._asked: dict[str, _Asked] = {}
        self._warned: set[str] = set()

    def known(self, address: str, now_s: float) -> Wire | None:
        """The wire of `address`, if it was found out and still holds."""
        verdict = self._known.get(address)
        if verdict is None or verdict[1] < now_s:
            return None
        return verdict[0]

    def next_question(self, address: str) -> tuple[Wire, float] | None:
        """The wire to ask for and how long to wait; None where the endpoint answered none: the next
        call begins anew."""
        asked = self._asked.setdefault(address, _Asked())
        for wire in PROBES:
            if wire not in asked.refused:
                return wire, max(ANSWER_S - asked.silent_s.get(wire, 0.0), 0.0)
        self._asked.pop(address, None)
        return None

    def answered(
        self, address: str, wire: Wire, answer: Answer, waited_s: float, now_s: float
    ) -> bool:
        """Takes an answer in: whether asking may go on, or is over for this call's time.

        Silence is a refusal only when it lasted `ANSWER_S`."""
        asked = self._asked.setdefault(address, _Asked())
        if answer is Answer.YES:
            was_silent = bool(asked.silent_s)
            self._asked.pop(address, None)
            self._found(address, wire, now_s, SHORT_PLAIN_S if was_silent else PLAIN_S)
        elif answer is Answer.NO:
            asked.refused.add(wire)
        else:
            silent_s = asked.silent_s[wire] = asked.silent_s.get(wire, 0.0) + waited_s
            if silent_s < ANSWER_S - _TICK_S:
                return False
            asked.refused.add(wire)
        return True

    def _found(self, address: str, wire: Wire, now_s: float, plain_s: float) -> None:
        """Remembers it, and warns once an address where metadata end there."""
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
            self._warned.clear()
        until_s = float("inf") if wire.has_metadata else now_s + plain_s
        self._known[address] = (wire, until_s)
        if not wire.has_metadata and address not in self._warned:
            self._warned.add(address)
            _LOG.warning(
                "%s: the endpoint %s speaks neither TTHeader nor THeader, only %s messages:"
                " baggage, trace context and other metadata of calls end there. Wrap its server in"
                " meltemi.proxyless.thrift.mesh_server, or say wire=%r to ask no more",
                self._service,
                address,
                wire.value,
                wire.value,
            )

    def forget(self, address: str) -> None:
        """The next call asks again: another server may be there now."""
        self._known.pop(address, None)

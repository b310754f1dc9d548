"""What HTTP and gRPC integrations do alike: a call's deadline, and the changes of its route."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from meltemi.engine import Call

Change = tuple[str, str, str]
Pair = tuple[str, str]


class Deadline:
    """How long a call, and its attempt of now, may still take; times are `time.monotonic`'s.

    The smaller of the route's timeout and the caller's holds. A route's 0 says that the route sets
    none: it takes nothing away from the caller's. The route's begins when the call is routed: what
    a first call waits for its rules is of the caller's time alone.
    """

    __slots__ = ("_ends", "_per_try_s", "_tried_until")

    def __init__(self, own_s: float | None) -> None:
        self._ends = None if own_s is None else time.monotonic() + own_s
        self._per_try_s: float | None = None
        self._tried_until: float | None = None

    def routed(self, call: Call) -> None:
        """Takes over what the route of `call` says."""
        if call.timeout_s:
            self._ends = _earlier(self._ends, time.monotonic() + call.timeout_s)
        self._per_try_s = call.per_try_timeout_s or None

    def attempt(self) -> None:
        """An attempt begins now."""
        if self._per_try_s is not None:
            self._tried_until = time.monotonic() + self._per_try_s

    def left_s(self) -> float | None:
        """Seconds that the attempt of now has; 0 or less: none. None: as long as it takes."""
        ends = _earlier(self._ends, self._tried_until)
        return None if ends is None else ends - time.monotonic()

    def allows(self, wait_s: float) -> bool:
        """Whether another attempt may begin after `wait_s`."""
        return self._ends is None or time.monotonic() + wait_s < self._ends

    @property
    def over(self) -> bool:
        """Whether the time of the whole call is up."""
        return self._ends is not None and time.monotonic() >= self._ends

    @property
    def tried_over(self) -> bool:
        """Whether the time of the attempt of now is up."""
        return self._tried_until is not None and time.monotonic() >= self._tried_until


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def changed(pairs: Iterable[Pair], changes: Sequence[Change]) -> list[Pair]:
    """`pairs` after `changes` (as `Call.request_changes` has them); names in any case."""
    result = list(pairs)
    for how, name, value in changes:
        others = [pair for pair in result if pair[0].lower() != name.lower()]
        if not applies(how, there=len(others) < len(result)):
            continue
        if how != "add":
            result = others
        if how != "remove":
            result.append((name, value))
    return result


def applies(how: str, *, there: bool) -> bool:
    """Whether a change is made of a header that is there, or is not (Envoy's `append_action`)."""
    return not ((how == "set-if-missing" and there) or (how == "set-if-present" and not there))

"""What meshes of this process counted of lanes, as metrics of the application's OpenTelemetry.

The instruments are of the API: whoever installs an SDK, before or after, gets them. They say what
`Mesh.lanes` says, of all meshes together, with the words of a sidecar's Prometheus metrics.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

REQUESTS: Final = "meltemi.lane.requests"
LEAKS: Final = "meltemi.lane.leaks"


class Counting(Protocol):
    """What `Mesh` is here."""

    def lanes(self) -> list[dict[str, Any]]: ...


_followed: Final[weakref.WeakSet[Counting]] = weakref.WeakSet()


def follow(each: Counting) -> None:
    """Observes it as long as it lives."""
    _followed.add(each)
    _instruments()


@functools.cache
def _instruments() -> tuple[object, ...]:
    """Held for ever: the API keeps no instrument alive."""
    meter = metrics.get_meter("meltemi.proxyless")
    return (
        meter.create_observable_counter(
            REQUESTS,
            callbacks=[_requests],
            unit="{request}",
            description="Requests of a lane by whose instance answered",
        ),
        meter.create_observable_counter(
            LEAKS,
            callbacks=[_leaks],
            unit="{request}",
            description="Of these, those outside the lane though it had a healthy instance",
        ),
    )


def _counted() -> Iterator[dict[str, Any]]:
    for each in list(_followed):
        yield from each.lanes()


def _requests(_options: CallbackOptions) -> Iterable[Observation]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for each in _counted():
        for who, count in each["answered_by"].items():
            sums[each["lane"], each["service"], who] += count
    for (lane, service, who), count in sums.items():
        yield Observation(count, {"lane": lane, "service": service, "answered_by": who})


def _leaks(_options: CallbackOptions) -> Iterable[Observation]:
    sums: Counter[tuple[str, str]] = Counter()
    for each in _counted():
        sums[each["lane"], each["service"]] += each["leaks"]
    for (lane, service), count in sums.items():
        yield Observation(count, {"lane": lane, "service": service})

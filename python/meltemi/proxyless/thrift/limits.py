"""How long a call may take, by its user, its route and its attempts."""

from dataclasses import dataclass
from time import monotonic
from typing import Final

# thriftpy2's own, for a client of which nobody said how long it waits.
DEFAULT_S: Final = 3.0
# What is left of a time that is over: the kernel takes 0 for no limit.
SHORTEST_S: Final = 0.000_001


@dataclass(frozen=True, slots=True)
class Limit:
    """What the user of a client said: `said_s` seconds, None for no limit of theirs.

    `is_default` where they said nothing."""

    said_s: float | None = DEFAULT_S
    is_default: bool = True

    @classmethod
    def of(cls, timeout_s: float | None) -> "Limit":
        """What was said in so many words. ValueError unless it is None or more than 0."""
        if timeout_s is not None and timeout_s <= 0:
            raise ValueError(
                f"timeout_s is {timeout_s}: want seconds above 0, or None for no limit"
            )
        return cls(timeout_s, is_default=False)

    def of_call(self, route_s: float | None) -> float | None:
        """Seconds that a call may take with all its attempts; None: no limit.

        The smaller of what was said and what the route says. A route without a limit (0, Istio's
        default) takes away nothing; one that has one stands instead of our default."""
        if not route_s:
            return self.said_s
        if self.is_default or self.said_s is None:
            return route_s
        return min(route_s, self.said_s)


def left(deadline_s: float) -> float:
    """Seconds until a time of the monotonic clock; never 0."""
    return max(deadline_s - monotonic(), SHORTEST_S)


def of_attempt(left_s: float | None, per_try_s: float | None) -> float | None:
    """Seconds that one attempt may take; None: no limit."""
    if not per_try_s:
        return left_s
    return per_try_s if left_s is None else min(left_s, per_try_s)

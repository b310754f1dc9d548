"""How long a call may take, by its user, its route and its attempts."""

from dataclasses import dataclass
from time import monotonic
from typing import Final

# thriftpy2's own, for a client of which nobody said how long it waits.
DEFAULT_S: Final = 3.0
# What is left of a time that is over: the kernel takes 0 for no limit.
SHORTEST_S: Final = 0.000_001
# Routing that takes less did not wait.
WAITED_S: Final = 0.001


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

    @property
    def patience_s(self) -> float | None:
        """How long a first call may wait for its route, of what the user said; None: nothing."""
        return None if self.is_default else self.said_s

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


def after_wait(limit_s: float | None, patience_s: float | None, waited_s: float) -> float | None:
    """What is left of a call's limit when its route is there after `waited_s`.

    The wait is of the time that the user gave, not of the route's. There is none to speak of for
    any call but the first."""
    if limit_s is None or patience_s is None or waited_s < WAITED_S:
        return limit_s
    return max(min(limit_s, patience_s - waited_s), SHORTEST_S)


def of_attempt(left_s: float | None, per_try_s: float | None) -> float | None:
    """Seconds that one attempt may take; None: no limit."""
    if not per_try_s:
        return left_s
    return per_try_s if left_s is None else min(left_s, per_try_s)

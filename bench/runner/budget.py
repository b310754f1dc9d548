"""The time of a run: how much is left, and whether there is room for another sample."""

from __future__ import annotations

import time
from collections.abc import Callable

GUESSED_SAMPLE_S = 1.9
"""A second of load, warm-up, start, and a look whether the machine is quiet."""


class Budget:
    """Shares the seconds of a run between what must be done and what may be repeated.

    `clock` gives seconds. `must`: samples to come; `other_s`: seconds of everything else to come.
    """

    def __init__(
        self, seconds: float, must: int, other_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds = seconds
        self._must = must
        self._other_s = other_s
        self._taken = 0
        self._sampling_s = 0.0

    @property
    def expected_s(self) -> float:
        """Seconds until the end, by what samples have taken so far."""
        known = self._taken >= 5
        each = self._sampling_s / self._taken if known else GUESSED_SAMPLE_S
        return self._must * each + self._other_s

    @property
    def spare_s(self) -> float:
        """Seconds that may be spent on waiting and repeating; negative: something must be left."""
        return self._seconds - (self._clock() - self._began) - self.expected_s

    def sampled(self, seconds: float) -> None:
        """A sample that had to be taken was; repeating and waiting not counted."""
        self._taken += 1
        self._must -= 1
        self._sampling_s += seconds

    def skipped(self, samples: int) -> None:
        """Samples that will not be taken."""
        self._must -= samples

    def measured(self, guessed_s: float) -> None:
        """Something else is done, which was thought to take so long."""
        self._other_s -= guessed_s

    def left(self) -> str:
        """For people: minutes and seconds until the end."""
        seconds = max(0, round(self.expected_s))
        return f"{seconds // 60}:{seconds % 60:02} left"

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from runner import machine, sampling, targets
from runner.budget import GUESSED_SAMPLE_S, Budget
from runner.grounds import Ground
from runner.machine import cores, resident_kib
from runner.measurements import Finding, registry, swaps
from runner.measurements.finding import Lab, Measurement
from runner.processes import Processes, StartError
from runner.rows import MeasuredRow, Metric, Point, Target
from runner.sampling import rounds_of
from runner.targets import Running

VALUES: dict[Metric, float] = dict.fromkeys(get_args(Metric), 1.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_is_spare_until_what_must_be_done_needs_it() -> None:
    clock = Clock()
    budget = Budget(100, must=10, other_s=20, clock=clock)
    assert budget.spare_s == pytest.approx(100 - 10 * GUESSED_SAMPLE_S - 20)
    clock.now = 90
    assert budget.spare_s < 0
    budget.measured(20)
    budget.skipped(10)
    assert budget.spare_s == pytest.approx(10)


def test_what_samples_take_is_learned_from_those_that_were_taken() -> None:
    budget = Budget(1000, must=100, other_s=0, clock=Clock())
    for _ in range(10):
        budget.sampled(5.0)
    assert budget.expected_s == pytest.approx(90 * 5.0)
    assert budget.left() == "7:30 left"


def test_a_group_gets_no_more_rounds_than_its_points_are_worth() -> None:
    point = Point("two cores", 64)
    few = dataclasses.replace(point, most_rounds=3)
    assert rounds_of([(point, Target("x"))], 5) == 5
    assert rounds_of([(point, Target("x")), (few, Target("x"))], 5) == 3
    assert rounds_of([(few, Target("x"))], 1) == 1
    fine = dataclasses.replace(point, fine=True)
    assert rounds_of([(fine, Target("x"))], 5) == 10
    assert fine.measured_s == point.measured_s / 2


def test_what_this_process_and_its_children_burn_is_not_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def readings(name: str, *values: object) -> None:
        left = list(values)
        monkeypatch.setattr(machine, name, lambda *_: left.pop(0))

    readings("cores", [0, 1], [0, 1], [0, 1])
    readings("busy_s", 100.0, 103.0)
    readings("cpu_s", 5.0, 5.5)
    readings("ended_cpu_s", 10.0, 11.5)
    times = [0.0, 2.0]
    monkeypatch.setattr(time, "monotonic", lambda: times.pop(0))
    share = machine.Share()
    # Two cores for two seconds, of which 3 s were busy: 0.5 s with us, 1.5 s with what we started.
    assert share.foreign() == pytest.approx(1.0 / 4)


class Shots:
    """Gives samples with these foreign shares, one after the other."""

    ground = Ground([0], [0])

    def __init__(self, *foreign: float) -> None:
        self.left = list(foreign)

    def take(self) -> sampling.Sample:
        return sampling.Sample({}, self.left.pop(0), "")


@pytest.mark.parametrize(
    ("noisy", "foreign", "kept", "taken"),
    [
        (False, (0.5, 0.01, 0.0), 0.01, 2),  # the first that is clean
        (False, (0.5, 0.3, 0.4, 0.0), 0.3, 3),  # the least spoiled of all tries
        (True, (0.5, 0.0), 0.5, 1),  # as it comes
    ],
)
def test_a_spoiled_sample_is_taken_again(
    noisy: bool,
    foreign: tuple[float, ...],
    kept: float,
    taken: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "wait_until_quiet", lambda *_: True)
    shots = Shots(*foreign)
    budget = Budget(1000, must=1, other_s=0)
    run = sampling.Run([], 1, Path(), budget, noisy, print)
    sample, _ = run.sample(shots)
    assert (sample.foreign, len(foreign) - len(shots.left)) == (kept, taken)


def test_no_sample_is_repeated_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "wait_until_quiet", lambda *_: False)
    shots = Shots(0.5, 0.0)
    run = sampling.Run([], 1, Path(), Budget(1, must=9, other_s=0), False, print)
    assert run.sample(shots)[0].spoiled


@pytest.mark.parametrize(("spare_s", "rounds"), [(10, 5), (-1, 3), (-1000, 1)])
def test_rounds_are_left_out_when_time_is_short(
    spare_s: float, rounds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = (Point("one core", 64), Target("meltemi pool"))
    run = sampling.Run([[case]], 5, tmp_path, Budget(0, 0, 0), True, lambda _: None)
    monkeypatch.setattr(Budget, "spare_s", spare_s)
    monkeypatch.setattr(Ground, "place", lambda *_: (None, Running("", 0, 0)))
    monkeypatch.setattr(targets, "start", lambda *_: Running("", 0, 0))
    monkeypatch.setattr(Processes, "check", lambda *_: None)
    monkeypatch.setattr(sampling.Shot, "take", lambda _: sampling.Sample(VALUES, 0.0, ""))
    assert len(run.go().of(*case)) == rounds


def test_a_spoiled_measurement_is_taken_again_and_a_failing_one_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: Lab) -> Finding:
        raise OSError("no such thing")

    taken: list[Lab] = []

    def spoiled(with_: Lab) -> Finding:
        taken.append(with_)
        return Finding()

    spoils = Measurement(spoiled, 1)
    measurements = {"spoiled": spoils, "failing": Measurement(fails, 1)}
    monkeypatch.setattr(registry, "MEASUREMENTS", measurements)
    monkeypatch.setattr(registry, "wait_until_quiet", lambda *_: True)
    shares = [0.5, 0.2, 0.0]
    monkeypatch.setattr(machine.Share, "foreign", lambda _: shares.pop(0))
    rows = [MeasuredRow("X", "what", name, "key", "s", None) for name in measurements]
    lab = Lab(Path(), 1, lambda _: None)
    found = registry.take(rows, lab, Budget(100, must=0, other_s=2), noisy=False)
    assert (len(taken), found["spoiled"].spoiled) == (2, True)
    assert "no such thing" in found["failing"].failed
    assert not shares


def test_a_process_that_does_not_listen_is_an_error_with_its_last_words(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    listen = ("127.0.0.1", free_port())
    with (
        Processes(tmp_path / "logs") as processes,
        pytest.raises(StartError, match="no such option"),
    ):
        processes.start("thing", command, cores()[:1], listen)


def test_memory_of_a_process_is_seen_and_of_none_is_nothing() -> None:
    assert resident_kib(os.getpid()) > 1000
    assert resident_kib(2**22 + 1) == 0


def test_requests_that_a_swap_overlaps_are_told_apart() -> None:
    windows = [(100, 110), (200, 210)]
    before, across, inside, long, after = (90, 99), (95, 101), (203, 205), (105, 300), (211, 220)
    requests = [before, across, inside, long, after]
    during, without = swaps.split(requests, windows)
    assert during == [6, 2, 195]
    assert without == [9, 9]


def test_a_p999_of_too_few_requests_is_refused() -> None:
    assert swaps.p999(range(10_000)) == 9990
    with pytest.raises(StartError, match="too few"):
        swaps.p999(range(999))

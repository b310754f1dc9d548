from __future__ import annotations

import dataclasses

import pytest
from runner.report import judge, table
from runner.sampling import Sample, Samples
from runner.table import ROWS, Goal, Metric, Point, Row, Target

POINT = Point("one core", 64)
OURS, FAST, SLOW, BASE = map(Target, ("ours", "fast", "slow", "base"))
ROW = Row("X", "what", (POINT,), OURS, (FAST, SLOW), "rps", Goal("at least", 2))


def sample(value: float, *, foreign: float = 0.0, wrong: str = "") -> Sample:
    names: tuple[Metric, ...] = ("rps", "cpu_us", "p50_us", "p99_us", "resident_kib")
    return Sample(dict.fromkeys(names, value), foreign, wrong)


def samples(**of_target: list[float]) -> Samples:
    return Samples(
        {(POINT, Target(name)): [sample(v) for v in values] for name, values in of_target.items()}
    )


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine was twice as fast in the second round: a ratio of medians would say 2.25.
    taken = samples(ours=[200, 500, 250], fast=[100, 200, 100], slow=[90, 190, 80])
    [result] = judge([ROW], taken)
    assert (result.ratio, result.spread, result.rounds) == (2.5, (2.0, 2.5), 3)
    assert result.met


@pytest.mark.parametrize(
    ("goal", "better", "ratio"),
    [(Goal("at least", 1), "fast", 1.0), (Goal("at most", 1), "slow", 2.0)],
)
def test_the_better_peer_counts(goal: Goal, better: str, ratio: float) -> None:
    # More requests are better, less CPU is.
    taken = samples(ours=[100] * 3, fast=[100] * 3, slow=[50] * 3)
    [result] = judge([dataclasses.replace(ROW, goal=goal)], taken)
    assert (result.better_peer, result.ratio) == (better, ratio)


def test_spoiled_rounds_do_not_count() -> None:
    taken = samples(ours=[200, 200, 200, 1], fast=[100] * 4, slow=[90] * 4)
    taken.of(POINT, OURS)[3] = sample(1, foreign=0.5)
    [result] = judge([ROW], taken)
    assert (result.ratio, result.rounds, result.spoiled) == (2.0, 3, False)


def test_too_few_clean_rounds_are_said() -> None:
    taken = samples(ours=[200] * 3, fast=[100] * 3, slow=[90] * 3)
    taken.of(POINT, FAST)[0] = sample(100, foreign=0.5)
    [result] = judge([ROW], taken)
    assert (result.rounds, result.spoiled) == (2, True)
    assert "foreign load" in table([result], {POINT: [OURS, FAST, SLOW]}, taken)


def test_a_wrong_reply_is_never_a_goal_met() -> None:
    taken = samples(ours=[900] * 3, fast=[100] * 3, slow=[90] * 3)
    taken.of(POINT, OURS)[1] = sample(900, wrong="another_requests_reply")
    [result] = judge([ROW], taken)
    assert (result.met, result.json()["wrong"]) == (False, "another_requests_reply")


def test_what_both_have_in_common_is_taken_off_before_they_are_compared() -> None:
    row = dataclasses.replace(
        ROW, metric="p50_us", goal=Goal("at most", 0.5), peers=(SLOW,), minus=BASE
    )
    taken = samples(ours=[20] * 3, slow=[30] * 3, base=[10] * 3)
    [result] = judge([row], taken)
    assert (result.ours, result.peer, result.ratio) == (10, 20, 0.5)


def test_several_points_are_one_geometric_mean() -> None:
    other = Point("one core", 16)
    row = dataclasses.replace(ROW, points=(POINT, other), peers=(FAST,))
    taken = samples(ours=[400] * 3, fast=[100] * 3)
    taken.taken[other, OURS] = [sample(100)] * 3
    taken.taken[other, FAST] = [sample(100)] * 3
    [result] = judge([row], taken)
    assert result.ratio == pytest.approx(2.0)


def test_every_goal_has_a_name_of_its_own_and_the_short_run_has_one_point() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len({point for row in ROWS if row.quick for point in row.points}) == 1

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from runner.measurements import Finding
from runner.report import judge, table
from runner.rows import Goal, MeasuredRow, Metric, Point, Row, Target
from runner.sampling import Sample, Samples

POINT = Point("one core", 64)
OTHER = Point("one core", 16)
OURS, FAST, SLOW, BASE = map(Target, ("meltemi", "fast", "slow", "base"))
ROW = Row("X", "what", (POINT,), OURS, (FAST, SLOW), "rps", Goal("at least", 2))
MEASURED = MeasuredRow("M", "what", "thing", "key", "ms", Goal("at most", 0.5))


def sample(value: float, *, foreign: float = 0.0, wrong: str = "") -> Sample:
    names: tuple[Metric, ...] = get_args(Metric)
    return Sample(dict.fromkeys(names, value), foreign, wrong)


def samples(**of_target: list[float]) -> Samples:
    """Of each target by its name; `meltemi` is ours."""
    return Samples(
        {(POINT, Target(name)): [sample(v) for v in values] for name, values in of_target.items()}
    )


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine was twice as fast in the second round: a ratio of medians would say 2.25.
    taken = samples(meltemi=[200, 500, 250], fast=[100, 200, 100], slow=[90, 190, 80])
    [result] = judge([ROW], taken)
    assert (result.ratio, result.spread, result.rounds) == (2.5, (2.0, 2.5), 3)
    assert result.met


@pytest.mark.parametrize(
    ("metric", "better", "ratio"), [("rps", "fast", 1.0), ("cpu_us", "slow", 2.0)]
)
def test_the_better_peer_counts(metric: Metric, better: str, ratio: float) -> None:
    # More requests are better, less CPU is; so too where there is no goal that says it.
    taken = samples(meltemi=[100] * 3, fast=[100] * 3, slow=[50] * 3)
    for goal in (Goal("at most", 1), None):
        [result] = judge([dataclasses.replace(ROW, metric=metric, goal=goal)], taken)
        assert (result.better_peer, result.ratio) == (better, ratio)


def test_spoiled_rounds_do_not_count() -> None:
    taken = samples(meltemi=[200, 200, 200, 1], fast=[100] * 4, slow=[90] * 4)
    taken.of(POINT, OURS)[3] = sample(1, foreign=0.5)
    [result] = judge([ROW], taken)
    assert (result.ratio, result.rounds, result.spoiled) == (2.0, 3, False)


def test_too_few_clean_rounds_are_said() -> None:
    taken = samples(meltemi=[200] * 3, fast=[100] * 3, slow=[90] * 3)
    taken.of(POINT, FAST)[0] = sample(100, foreign=0.5)
    [result] = judge([ROW], taken)
    assert (result.rounds, result.spoiled) == (2, True)
    text = table([result], [ROW.cases()], taken)
    assert "foreign load" in text
    assert "few rounds: 2" in text


def test_a_wrong_reply_of_ours_is_never_a_goal_met_and_fails_the_run() -> None:
    taken = samples(meltemi=[900] * 3, fast=[100] * 3, slow=[90] * 3)
    taken.of(POINT, OURS)[1] = sample(900, wrong="another_requests_reply")
    [result] = judge([ROW], taken)
    assert (result.met, result.broken) == (False, True)
    assert result.json()["wrong"] == "another_requests_reply"


def test_a_wrong_reply_of_a_peer_is_said_and_fails_nothing() -> None:
    taken = samples(meltemi=[900] * 3, fast=[100] * 3, slow=[90] * 3)
    taken.of(POINT, FAST)[1] = sample(100, wrong="connection_lost")
    [result] = judge([ROW], taken)
    assert (result.met, result.broken, result.peer_wrong) == (True, False, "connection_lost")
    assert "connection_lost" in table([result], [ROW.cases()], taken)


def test_a_peer_that_answers_nothing_is_no_peer_to_be_better_than() -> None:
    taken = samples(meltemi=[1] * 3, fast=[0] * 3, slow=[90] * 3)
    [result] = judge([dataclasses.replace(ROW, metric="cpu_us", goal=Goal("at most", 1))], taken)
    assert (result.met, result.broken) == (False, True)
    assert "fast answered nothing" in result.failed


def test_what_both_have_in_common_is_taken_off_before_they_are_compared() -> None:
    row = dataclasses.replace(
        ROW, metric="p50_us", goal=Goal("at most", 0.5), peers=(SLOW,), minus=BASE
    )
    taken = samples(meltemi=[20] * 3, slow=[30] * 3, base=[10] * 3)
    [result] = judge([row], taken)
    assert (result.ours, result.peer, result.ratio) == (10, 20, 0.5)


def test_several_points_are_one_geometric_mean() -> None:
    row = dataclasses.replace(ROW, points=(POINT, OTHER), peers=(FAST,))
    taken = samples(meltemi=[400] * 3, fast=[100] * 3)
    taken.taken[OTHER, OURS] = [sample(100)] * 3
    taken.taken[OTHER, FAST] = [sample(100)] * 3
    [result] = judge([row], taken)
    assert result.ratio == pytest.approx(2.0)


def test_a_peer_may_have_points_of_its_own() -> None:
    row = dataclasses.replace(ROW, peers=(OURS,), peer_points=(OTHER,))
    taken = samples(meltemi=[300] * 3)
    taken.taken[OTHER, OURS] = [sample(100)] * 3
    [result] = judge([row], taken)
    assert (result.ours, result.peer, result.ratio) == (300, 100, 3.0)


def test_a_row_without_a_goal_is_only_reported() -> None:
    taken = samples(meltemi=[300] * 3, fast=[100] * 3, slow=[90] * 3)
    [result] = judge([dataclasses.replace(ROW, goal=None)], taken)
    found = result.json()
    assert (found["goal"], found["met"], found["ratio"]) == (None, None, 3.0)
    assert "reported" in table([result], [ROW.cases()], taken)


def test_errors_are_judged_by_the_worst_round_and_not_against_the_peers() -> None:
    row = dataclasses.replace(ROW, metric="errors", goal=Goal("at most", 0, "errors"))
    taken = samples(meltemi=[1] * 3, fast=[5] * 3, slow=[9] * 3)
    values: dict[Metric, float] = dict.fromkeys(get_args(Metric), 1.0)
    taken.taken[POINT, OURS] = [Sample({**values, "errors": n}, 0.0, "") for n in (0, 0, 2)]
    [result] = judge([row], taken)
    assert (result.ours, result.ratio, result.met) == (2, None, False)
    taken.taken[POINT, OURS] = [Sample({**values, "errors": 0}, 0.0, "")] * 3
    assert judge([row], taken)[0].met


def test_what_could_not_run_fails_and_what_the_machine_lacks_does_not() -> None:
    failed = Samples(failed={(POINT, FAST): "envoy did not start"})
    [result] = judge([ROW], failed)
    assert (result.met, result.broken, result.failed) == (False, True, "envoy did not start")
    lacking = Samples(left_out={(POINT, FAST): "needs root"})
    [result] = judge([ROW], lacking)
    assert (result.met, result.broken, result.left_out) == (None, False, "needs root")


def test_measured_pairs_are_ratios_round_by_round() -> None:
    finding = Finding({"key": [(10, 100), (20, 50), (30, 100)]}, {"key": "peer"})
    [result] = judge([MEASURED], Samples(), {"thing": finding})
    assert (result.ratio, result.spread, result.met) == (0.3, (0.1, 0.4), True)
    assert (result.ours, result.peer, result.better_peer) == (20, 100, "peer")


def test_a_goal_with_a_unit_is_about_our_number() -> None:
    row = dataclasses.replace(MEASURED, goal=Goal("at most", 12, "MB"))
    finding = Finding({"key": [(11.0, 1.0)]})
    [result] = judge([row], Samples(), {"thing": finding})
    assert (result.met, result.spread, str(row.goal)) == (True, (11.0, 11.0), "<= 12 MB")


@pytest.mark.parametrize("finding", [None, Finding(failed="no gRPC")])
def test_a_measurement_that_is_missing_is_a_failure(finding: Finding | None) -> None:
    [result] = judge([MEASURED], Samples(), {"thing": finding} if finding else {})
    assert (result.met, result.broken) == (False, True)


def test_results_have_the_fields_that_are_promised() -> None:
    taken = samples(meltemi=[300] * 3, fast=[100] * 3, slow=[90] * 3)
    found = judge([ROW], taken)[0].json(noisy=True)
    assert {"id", "what", "ours", "peer", "ratio", "goal", "met"} <= set(found)
    assert found["noisy"] is True

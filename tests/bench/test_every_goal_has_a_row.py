from __future__ import annotations

import re
from pathlib import Path

from runner.measurements.registry import MEASUREMENTS
from runner.rows import DIRECT, MeasuredRow, Row
from runner.sampling import plan
from runner.table import ROWS
from runner.targets import KINDS

GOALS = {
    *("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G9", "G10", "G11", "G12", "G13", "G14", "G15"),
    *("G19", "G29", "G30", "G31", "G21", "G22", "G23"),
    *("G18", "G24", "G25", "G26", "G27", "G28"),
}
SAMPLED = [row for row in ROWS if isinstance(row, Row)]


def test_every_goal_is_there_and_has_a_name_of_its_own() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert {row.id.partition(" ")[0] for row in ROWS} >= GOALS


def test_every_target_and_measurement_can_be_started() -> None:
    kinds = {target.kind for row in SAMPLED for target in row.targets()}
    assert kinds <= {*KINDS, DIRECT.kind}
    measured = {row.measurement for row in ROWS if isinstance(row, MeasuredRow)}
    assert measured == set(MEASUREMENTS)


def test_the_short_run_has_one_point_and_nothing_else() -> None:
    quick = [row for row in ROWS if row.quick]
    assert all(isinstance(row, Row) for row in quick)
    assert len({point for row in SAMPLED if row.quick for point in row.points}) == 1


def test_only_what_is_reported_has_no_goal() -> None:
    assert {row.id.partition(" ")[0] for row in ROWS if row.goal is None} == {
        "G18",
        "G27",
        "G29",
        "G31",
    }


def test_all_that_a_row_compares_is_sampled_in_one_group() -> None:
    groups = plan(SAMPLED)
    for row in SAMPLED:
        for own, theirs in row.pairs():
            wanted = {(own, row.ours), *((theirs, peer) for peer in row.peers)}
            assert any(wanted <= set(group) for group in groups), row.id


def test_no_case_is_sampled_twice() -> None:
    cases = [case for group in plan(SAMPLED) for case in group]
    assert len(cases) == len(set(cases))


def test_a_direct_connection_stands_beside_every_comparison_with_others() -> None:
    groups = plan(SAMPLED)
    for group in groups:
        others = any(not target.ours and target != DIRECT for _, target in group)
        assert others <= any(target == DIRECT for _, target in group)


def test_the_readme_names_every_measurement() -> None:
    readme = (Path(__file__).resolve().parents[2] / "bench" / "README.md").read_text()
    for name in MEASUREMENTS:
        assert re.search(rf"\b{name}\b", readme), name

"""Colouring as a decision: the table of cases, and what no stranger may bring."""

from __future__ import annotations

import pytest
from colouring_cases import CASES, Case, by_name, lane_groups
from meltemi.lanes.colouring import Plan, Request, coloured


def request(case: Case) -> Request:
    path, _, query = case.path.partition("?")
    headers = [(name.lower(), value) for name, value in case.before]
    return Request(case.method, path, query, headers, case.source)


def never() -> int:
    raise AssertionError("no case depends on chance")


def test_each_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_headers_become_those_of_the_table(case: Case) -> None:
    plan = Plan(lane_groups(case.groups))
    assert by_name(coloured(plan, request(case), never)) == by_name(case.after)

"""Colouring as a decision: the table of cases, and what no stranger may bring."""

from __future__ import annotations

import pytest
from colouring_cases import CASES, Case, by_name, lane_groups
from google.protobuf import json_format
from meltemi.lanes import edge_rules
from meltemi.lanes.colouring import Request, coloured, compiled
from meltemi.xds import messages


def request(case: Case) -> Request:
    path, _, query = case.path.partition("?")
    headers = [(name.lower(), value) for name, value in case.before]
    return Request(case.method, path, query, headers, case.source)


def test_each_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_headers_become_those_of_the_table(case: Case) -> None:
    plan = compiled(lane_groups(case.groups))
    assert by_name(coloured(plan, request(case), 0)) == by_name(case.after)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rules_that_travelled_give_the_same_answer(case: Case) -> None:
    written = messages.message("google.protobuf.Struct")()
    written.update(edge_rules.written(lane_groups(case.groups)))
    plan = compiled(edge_rules.read(json_format.MessageToDict(written)))
    assert by_name(coloured(plan, request(case), 0)) == by_name(case.after)


def test_an_entry_of_a_later_version_lets_nobody_in() -> None:
    """A condition that is not known would keep somebody out."""
    written = edge_rules.written(lane_groups(CASES[0].groups))
    (entry,) = written["groups"][0]["lanes"][0]["entry"]
    assert edge_rules.read(written)[0].lanes[0].entries
    entry["phaseOfTheMoon"] = "full"
    assert edge_rules.read(written)[0].lanes[0].entries == ()

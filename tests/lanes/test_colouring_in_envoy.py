"""Colouring inside a real Envoy: the answers of the table that all who colour are held to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from colouring_case import Case, by_name, lane_groups
from colouring_cases import CASES
from edge_envoy import LOOPBACK_6, Edge
from meltemi.lanes import mark_pattern

SHOWN = [case for case in CASES if "envoy" not in case.not_by]
"""The others Envoy decides before any filter."""
WITHOUT_UNDERSCORES = [case for case in SHOWN if not any("_" in name for name, _ in case.before)]
TABLE = [(case, True) for case in SHOWN] + [(case, False) for case in WITHOUT_UNDERSCORES]
"""As Istio's gateway has it, and as ours, which lets no header with `_` through."""


def named(each: object) -> str:
    return each.name if isinstance(each, Case) else "as they are" if each else "dropped"


@pytest.fixture(scope="module")
def edge(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    made = Edge(free_port)
    for text in dict.fromkeys(case.groups for case in CASES):
        for kept in (True, False):
            made.add(f"{kept} {text}", lane_groups(text), underscores=kept)
    for text in dict.fromkeys(case.groups for case in CASES if case.source == LOOPBACK_6):
        for kept in (True, False):
            made.add_ipv6(f"{kept} {text}", lane_groups(text), underscores=kept)
    with made.running(tmp_path_factory.mktemp("edge")):
        yield made


@pytest.mark.parametrize(("case", "underscores"), TABLE, ids=named)
def test_envoy_answers_as_the_table_says(edge: Edge, case: Case, underscores: bool) -> None:
    route, found = edge.ask(
        f"{underscores} {case.groups}", case.before, case.source, case.method, case.path
    )
    names = {name.lower() for name, _ in (*case.before, *case.after)} | {"baggage"}
    got = {name: values for name, values in by_name(found).items() if name in names}
    assert got == by_name(case.after)
    marked = re.fullmatch(mark_pattern("env", "dev"), ",".join(got.get("baggage", ())))
    assert route == ("lane" if marked else ""), "the route is chosen by the baggage as it is now"

"""Whose marks count, and where they end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from meltemi.lanes.callers import MarkRule, denied_keys, ending_keys, mark_rules, may_mark
from meltemi.model import LaneGroup, LaneService, Service, Workload, WorkloadSelector
from meltemi.model.lane import Labels

HOST = "pay.example.com"
GROUP = LaneGroup("shop", "g", (LaneService("reviews.shop.svc.cluster.local"),), "env")
FRONT = Workload("shop", "front", (("app", "front"), ("tier", "web")))
BACK = Workload("shop", "back", (("app", "back"),))
OTHER = Workload("other", "front", (("app", "front"),))


def limited(*selectors: tuple[str | None, Labels]) -> LaneGroup:
    return replace(GROUP, marks_from=tuple(WorkloadSelector(*each) for each in selectors))


@pytest.mark.parametrize(
    ("selectors", "allowed"),
    [
        ((), (FRONT, BACK, OTHER)),
        (((None, (("app", "front"),)),), (FRONT, OTHER)),
        ((("shop", ()),), (FRONT, BACK)),
        ((("shop", (("app", "front"),)),), (FRONT,)),
        (((None, (("app", "front"), ("tier", "web"))),), (FRONT,)),
        ((("shop", (("app", "back"),)), ("other", ())), (BACK, OTHER)),
        ((("nowhere", ()),), ()),
    ],
)
def test_a_workload_may_mark_where_a_selector_has_its_namespace_and_labels(
    selectors: tuple[tuple[str | None, Labels], ...], allowed: tuple[Workload, ...]
) -> None:
    group = limited(*selectors)
    assert tuple(each for each in (FRONT, BACK, OTHER) if may_mark(group, each)) == allowed
    for each in (FRONT, BACK, OTHER):
        assert denied_keys([group], each) == (() if each in allowed else ("env",))


def test_a_group_without_a_limit_takes_the_marks_of_any_workload_and_of_no_stranger() -> None:
    trusting = replace(GROUP, name="h", baggage_key="lane", trusted_sources=("10.0.0.0/8",))
    assert mark_rules([GROUP, trusting], (FRONT, BACK)) == (
        MarkRule("env", True, (), ()),
        MarkRule("lane", True, (), ("10.0.0.0/8",)),
    )
    assert mark_rules([], (FRONT, BACK)) == ()


def test_a_limited_group_names_its_workloads_and_equal_rules_are_one() -> None:
    group = limited((None, (("app", "front"),)))
    same = replace(group, name="same")
    wanted = MarkRule("env", False, ("other/front", "shop/front"), ())
    assert mark_rules([group, same], (FRONT, BACK, OTHER)) == (wanted,)


def test_marks_end_outside_of_the_mesh_but_for_groups_that_the_host_is_in() -> None:
    inside = Service(HOST, "shop", "pay", ())
    outside = replace(inside, outside=True)
    own = replace(GROUP, name="own", baggage_key="lane", services=(LaneService(HOST),))
    assert ending_keys([GROUP, own], inside) == ()
    assert ending_keys([GROUP, own], outside) == ("env",)
    assert ending_keys([GROUP], outside) == ("env",)
    assert ending_keys([], outside) == ()

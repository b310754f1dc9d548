"""Lane groups to what they stand for: routes and subsets.

Pure: values of `meltemi.model` in, values of `meltemi.model` out."""

from meltemi.lanes.compile import subset_name, with_lanes
from meltemi.lanes.mark import mark_pattern

__all__ = ["mark_pattern", "subset_name", "with_lanes"]

"""Lane groups to what they stand for: routes, subsets, and who is in a percentage.

Pure: values of `meltemi.model` in, values of `meltemi.model` out."""

from meltemi.lanes.compile import subset_name, with_lanes
from meltemi.lanes.mark import mark_pattern
from meltemi.lanes.share import bucket, in_share

__all__ = ["bucket", "in_share", "mark_pattern", "subset_name", "with_lanes"]

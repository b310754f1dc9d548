"""What no load on one target shows: memory, swaps of routes, the control plane.

A measurement gives pairs of numbers, ours and the peer's, one for each round. `MEASUREMENTS` in
`measurements.registry` names them all.
"""

from runner.measurements.finding import Finding, Pairs

__all__ = ["Finding", "Pairs"]

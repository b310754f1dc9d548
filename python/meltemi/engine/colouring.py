"""Colouring by the engine: which marks go, and which one a request gets.

`Colouring` holds the rules, compiled once; `meltemi.lanes.colouring` makes one of lane groups.
"""

from meltemi._engine import Colouring

__all__ = ["Colouring"]

"""Fixtures of the engine's tests."""

from engine_mesh import mesh, serve

__all__ = ["mesh", "serve"]

"""Single values, judged by the code that routes.

- `hash_of`: xxHash64 with seed 0, as an unsigned number: what routes hash, and Envoy does.
"""

from meltemi._engine import hash_of

__all__ = ["hash_of"]

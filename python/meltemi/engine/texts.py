"""Single values, judged by the code that routes.

- `Expression`: a regular expression as the engine takes it; it matches a whole value.
- `hash_of`: xxHash64 with seed 0, as an unsigned number: what routes hash, and Envoy does.
"""

from meltemi._engine import Expression, hash_of

__all__ = ["Expression", "hash_of"]

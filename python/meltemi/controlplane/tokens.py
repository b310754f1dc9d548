"""Who a node is: a node id is a claim, and the token of that id is its proof.

Token = HMAC-SHA256(secret of the mesh, node id), so that nothing is stored for each node and a
control plane that starts again knows the same ones. `meltemi.local` gives each sidecar its own."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from meltemi.controlplane.state import UNUSABLE, StateError, write_synced
from meltemi.secret import Secret

SECRET_BYTES = 32


class Tokens:
    """Gives and checks the tokens of one mesh."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    @classmethod
    def open(cls, state: Path) -> Tokens:
        """Reads the secret in the state folder `state`, or makes one. Raises StateError."""
        path = state / "secret"
        try:
            with contextlib.suppress(FileExistsError):
                _make(path)
            found = path.read_text().strip()
        except OSError as error:
            raise StateError(f"cannot keep {path}: {error.strerror}", UNUSABLE) from error
        if len(found) < 2 * SECRET_BYTES:
            raise StateError(f"{path} is damaged", "remove it: a new one is made")
        return cls(Secret(found))

    def token(self, node_id: str) -> Secret:
        key = self._secret.reveal().encode()
        return Secret(hmac.new(key, node_id.encode(), hashlib.sha256).hexdigest())

    def is_proof(self, node_id: str, token: str | None) -> bool:
        """Whether `token` proves `node_id`; takes the same time for every wrong one."""
        return token is not None and self.token(node_id) == Secret(token)


def _make(path: Path) -> None:
    """Writes a new secret, unless another process was first. Raises FileExistsError, OSError.

    It gets its name by a link: a half-written one is never read, and the first one stays."""
    new = path.with_name(f".secret.{secrets.token_hex(4)}.new")
    try:
        if path.exists():
            raise FileExistsError(path)
        write_synced(new, secrets.token_hex(SECRET_BYTES).encode())
        os.link(new, path)
    finally:
        new.unlink(missing_ok=True)

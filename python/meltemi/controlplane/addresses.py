"""The file `.meltemi/addresses.json`: the addresses that were handed out, so that they stay.

`{"subnet": "127.N", "addresses": {KEY: ADDRESS}}`; the keys are those of `meltemi.model.addresses`.
Read offline by `meltemi dump-xds` too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from meltemi.controlplane.state import write_whole
from meltemi.model.addresses import Addresses

KEEP = 1 << 15  # keys of what is gone keep their address until half of the /16 is handed out


def read(path: Path, subnet: str | None = None) -> Addresses:
    """The addresses of a mesh, in `subnet` when that is given.

    A file that is not there or damaged means that none were handed out. Raises ValueError when
    `subnet` is not of the form 127.N."""
    try:
        found = json.loads(path.read_text())
        taken = {str(key): str(address) for key, address in found["addresses"].items()}
        return Addresses(subnet or str(found["subnet"]), taken)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Addresses(subnet or _own_subnet(path))


def write(path: Path, addresses: Addresses) -> None:
    """Raises OSError."""
    found = {"subnet": addresses.subnet, "addresses": dict(addresses.taken)}
    write_whole(path, json.dumps(found, indent=0).encode())


def _own_subnet(path: Path) -> str:
    """One that differs between directories, most likely."""
    digest = hashlib.sha256(str(path.resolve().parent.parent).encode()).digest()
    return f"127.{1 + int.from_bytes(digest[:4], 'big') % 254}"


class Recording(Addresses):
    """Notes which keys are asked for: those of the mesh that is being built."""

    def __init__(self, before: Addresses) -> None:
        super().__init__(before.subnet)
        self._before, self._taken, self._used = before._taken, before._taken, before._used
        self.asked: set[str] = set()

    @property
    def differs(self) -> bool:
        """Whether other addresses are handed out than before."""
        return self._taken is not self._before and self._taken != self._before

    def address(self, key: str) -> str:
        self.asked.add(key)
        known = self._taken.get(key)
        if known is not None:
            return known
        self._copy()
        return super().address(key)

    def forget_if_many(self) -> None:
        """Frees what the mesh no longer asks for, once that matters. A mesh that asked for nothing
        is one whose workloads have all theirs."""
        if self.asked and len(self._taken) > KEEP:
            self._copy()
            self.keep(frozenset(self.asked))

    def _copy(self) -> None:
        """The addresses before stay as they are; copied only where something is to change."""
        if self._taken is self._before:
            self._taken, self._used = dict(self._taken), set(self._used)

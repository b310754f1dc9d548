"""A second network namespace and the veth pair to it: what lies between two Pods of one node."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from runner.processes import StartError


class Unavailable(Exception):
    """This machine cannot do it, or nobody has written it: no failure. The message says why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ends of a veth pair."""

    namespace: str
    """The name of the other namespace."""
    here: str
    """IP address of the end in this one."""
    there: str


@contextlib.contextmanager
def veth() -> Iterator[Pair]:
    """A namespace of our own until the end of the block.

    Raises Unavailable without root or `ip`, StartError when the kernel refuses.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise Unavailable("two network namespaces need root and ip(8)")
    number = os.getpid() % 16384
    network = f"10.{77 + number // 4096}.{number // 64 % 64 * 4}"
    first = number % 64 * 4
    pair = Pair(f"meltemi-bench-{number}", f"{network}.{first + 1}", f"{network}.{first + 2}")
    outer, inner = f"mb{number}a", f"mb{number}b"
    inside = ["netns", "exec", pair.namespace, "ip"]
    try:
        _ip("netns", "add", pair.namespace)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", pair.namespace)
        _ip("address", "add", f"{pair.here}/30", "dev", outer)
        _ip(*inside, "address", "add", f"{pair.there}/30", "dev", inner)
        _ip("link", "set", outer, "up")
        _ip(*inside, "link", "set", inner, "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield pair
    finally:
        # With the namespace goes its end of the pair, and with that the other end.
        subprocess.run(["ip", "netns", "delete", pair.namespace], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartError(f"ip {' '.join(words)}: {done.stderr.strip()}")

"""Where the processes of a layout run: cores, addresses, network namespaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner import targets
from runner.machine import cores
from runner.namespaces import veth
from runner.processes import Processes, StartError
from runner.rows import Layout, Protocol


@dataclass(frozen=True, slots=True)
class Ground:
    """Where load, backends and proxies run."""

    load_cores: Sequence[int]
    """Of load and backends."""
    proxy_cores: Sequence[int]
    here: str = "127.0.0.1"
    """Where backends listen."""
    there: str = "127.0.0.1"
    """Where proxies listen."""
    namespace: str = ""
    """Of the proxies."""

    def used(self) -> list[int]:
        """All cores."""
        return sorted({*self.load_cores, *self.proxy_cores})

    def place(
        self, processes: Processes, protocol: Protocol
    ) -> tuple[targets.Place, targets.Running]:
        """Starts backends, for proxies to be started before them; the direct way to one too: across
        the veth pair where there is one. Raises StartError."""
        backends = targets.start_backends(processes, self.load_cores, protocol, self.here)
        ends = ((self.here, backends.port), (self.here, backends.port + 1))
        spot = (self.there, self.namespace)
        direct = backends
        if self.namespace:
            direct = targets.start_backends(processes, self.load_cores, protocol, *spot)
        return targets.Place(processes, self.proxy_cores, protocol, ends, *spot), direct


@contextlib.contextmanager
def ground(layout: Layout) -> Iterator[Ground]:
    """Raises StartError where the machine is too small, Unavailable where it lacks something."""
    own = cores()
    if layout in ("two cores", "all cores") and len(own) < 2:
        raise StartError("this part of the benchmark needs two cores")
    match layout:
        case "one core":
            yield Ground(own[:1], own[:1])
        case "two cores":
            yield Ground(own[:1], own[1:2])
        case "all cores":
            yield Ground(own[:-2], own[-2:]) if len(own) >= 4 else Ground(own, own)
        case "two namespaces":
            with veth() as pair:
                yield Ground(own[:1], own[:1], pair.here, pair.there, pair.namespace)

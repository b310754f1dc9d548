#!/usr/bin/env python3
"""Runs our engine for the benchmark, as a sidecar runs it: resources in, requests through.

python bench/engine.py --port 20000 --backends 20010,20011 [--multiplexed] [--routes N]

80 of 100 calls of `sayHello` go to the first backend, 20 to the second. Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
import sys

from meltemi.engine import Engine
from meltemi.xds import messages
from runner import resources

MULTIPLEXED = 1024
"""Requests in flight on one upstream connection where the destination allows many."""

WEIGHTS = (80, 20)
STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backends", required=True, help="two ports: PORT,PORT")
    parser.add_argument("--multiplexed", action="store_true", help="share upstream connections")
    parser.add_argument("--routes", type=int, default=0, help="routes before the one that matches")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # before the engine's threads inherit it
    backends = [int(port) for port in arguments.backends.split(",")]
    engine = Engine(
        workers=arguments.workers,
        source_address=None,
        node={"workload": "bench", "namespace": "default", "app": "bench", "version": "v1"},
        access_log=None,
        access_log_format="text",
        limits={},
    )
    in_flight = MULTIPLEXED if arguments.multiplexed else 0
    names = [f"outbound|9090|v{number}|bench" for number, _ in enumerate(backends, 1)]
    others = [
        resources.route(f"other-{number}", {names[0]: 1}, method=f"other{number:05}")
        for number in range(arguments.routes)
    ]
    split = dict(zip(names, WEIGHTS, strict=True))
    routes = [*others, resources.route("split", split, method="sayHello")]
    ends = zip(names, backends, strict=True)
    rejected = [
        *engine.update(
            messages.CLUSTER, "1", [resources.cluster(n, in_flight=in_flight) for n in names]
        ),
        *engine.update(messages.ENDPOINT, "1", [resources.endpoints(n, [p]) for n, p in ends]),
        *engine.update(messages.ROUTE, "1", [resources.table(routes)]),
        *engine.update(messages.LISTENER, "1", [resources.listener(arguments.port)]),
    ]
    if rejected:
        print(f"the engine refuses its resources: {rejected}", file=sys.stderr)
        return 1
    signal.sigwait(STOP)
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs our engine for the benchmark, as a sidecar runs it: resources in, requests through.

python bench/engine.py --listen 127.0.0.1:20000 --backends 127.0.0.1:20010,127.0.0.1:20011

80 of 100 calls of `sayHello` go to the first backend, 20 to the second. Ends on SIGTERM; with
`--steered`, when stdin does, and until then it does what a JSON object a line says:
`{"do": "prepare", "methods": [...]}` makes a route table with a route for each method before the
last one, `{"do": "apply"}` puts it in force, `{"do": "stats"}` gives the counters.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
from typing import Any

from meltemi.engine import Engine
from meltemi.xds import messages
from runner import resources

MULTIPLEXED = 1024
"""Requests in flight on one upstream connection where the destination allows many."""

WEIGHTS = (80, 20)
STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    arguments = _arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not arguments.steered:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # before the engine's threads inherit it
    engine = Engine(
        workers=arguments.workers,
        source_address=None,
        node={"workload": "bench", "namespace": "default", "app": "bench", "version": "v1"},
        access_log=arguments.access_log,
        access_log_format="text",
        limits={},
        metrics=not arguments.no_metrics,
    )
    rejected = _configure(engine, arguments)
    if rejected:
        print(f"the engine refuses its resources: {rejected}", file=sys.stderr)
        return 1
    if arguments.steered:
        _obey(engine, arguments)
    else:
        signal.sigwait(STOP)
    engine.close()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", required=True, metavar="IP:PORT")
    parser.add_argument("--backends", required=True, help="two: IP:PORT,IP:PORT")
    parser.add_argument("--protocol", default="thrift", choices=("thrift", "dubbo"))
    parser.add_argument("--multiplexed", action="store_true", help="share upstream connections")
    parser.add_argument("--routes", type=int, default=0, help="routes before the one that matches")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--local-limit", action="store_true", help="a limit that never is reached")
    parser.add_argument("--no-metrics", action="store_true", help="count no requests")
    parser.add_argument("--access-log", metavar="FILE")
    parser.add_argument("--steered", action="store_true", help="do what stdin says")
    return parser.parse_args()


def _configure(engine: Engine, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Hands over what a control plane would send; returns what the engine refuses."""
    names = _clusters(arguments)
    in_flight = MULTIPLEXED if arguments.multiplexed else 0
    host, _, port = arguments.listen.rpartition(":")
    ends = []
    for name, backend in zip(names, arguments.backends.split(","), strict=True):
        address, _, its_port = backend.rpartition(":")
        ends.append(resources.endpoints(name, [int(its_port)], address=address))
    others = [f"other{number:05}" for number in range(arguments.routes)]
    listener = resources.listener(
        int(port),
        address=host,
        protocol=arguments.protocol,
        filters=[resources.local_limit()] if arguments.local_limit else [],
    )
    return [
        *engine.update(
            messages.CLUSTER, "1", [resources.cluster(n, in_flight=in_flight) for n in names]
        ),
        *engine.update(messages.ENDPOINT, "1", ends),
        *engine.update(messages.ROUTE, "1", [_table(names, others)]),
        *engine.update(messages.LISTENER, "1", [listener]),
    ]


def _clusters(arguments: argparse.Namespace) -> list[str]:
    backends = arguments.backends.split(",")
    return [f"outbound|9090|v{number}|bench" for number, _ in enumerate(backends, 1)]


def _table(clusters: list[str], methods: list[str]) -> tuple[str, bytes]:
    others = [resources.route(method, {clusters[0]: 1}, method=method) for method in methods]
    split = dict(zip(clusters, WEIGHTS, strict=True))
    return resources.table([*others, resources.route("split", split, method="sayHello")])


def _obey(engine: Engine, arguments: argparse.Namespace) -> None:
    """Does what stdin says, until it ends; an answer a line."""
    clusters = _clusters(arguments)
    prepared = _table(clusters, [])
    version = 1
    print("{}", flush=True)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        match order["do"]:
            case "prepare":
                prepared = _table(clusters, order["methods"])
            case "apply":
                version += 1
                answer["began_ns"] = time.monotonic_ns()
                answer["rejected"] = engine.update(messages.ROUTE, str(version), [prepared])
                answer["ended_ns"] = time.monotonic_ns()
            case "stats":
                answer["stats"] = engine.stats()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main())

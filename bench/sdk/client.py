"""One client of `service` in a process of its own; it calls when its stdin says so.

    python -m sdk.client bare PORT          thriftpy2's own, framed, with its defaults
    python -m sdk.client sdk XDS_ADDRESS    through `proxyless`, with its defaults
    python -m sdk.client traced XDS_ADDRESS the same, each call with a trace and baggage of its own

A line of stdin, `call N` or (with a mesh) `choose N`, is answered with a JSON object: of calls the
median in microseconds, of choices the mean of its CPU time. Ends when stdin does."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from sdk import service

TEXT: Final = "x" * 32
POD: Final = "sdk-caller"
ADDRESS: Final = "127.0.0.7"
PATH: Final = "/hello.HelloService/sayHello"
HEADERS: Final = (
    ("method", "sayHello"),
    ("isn", "HelloService"),
    ("toservice", service.HOST),
    ("tomethod", "sayHello"),
)


@contextlib.contextmanager
def connected(xds: str) -> Iterator[Any]:
    """The mesh of one who has no sidecar."""
    from meltemi import proxyless

    with proxyless.connect(xds, pod=POD, instance_ip=ADDRESS, last_known="off") as mesh:
        yield mesh


def _bare(port: int) -> Callable[[], object]:
    from thriftpy2.rpc import make_client
    from thriftpy2.transport import TFramedTransportFactory

    client = make_client(
        service.loaded().HelloService,
        "127.0.0.1",
        port,
        trans_factory=TFramedTransportFactory(),
    )
    return lambda: client.sayHello(TEXT)


def _traced(call: Callable[[], object]) -> Callable[[], object]:
    """Each call in a context of its own, as that of a request that came with a trace."""
    from meltemi.proxyless.context import incoming
    from opentelemetry.context import attach, detach

    draw = random.Random(1).getrandbits

    def within() -> object:
        trace = f"00-{draw(128):032x}-{draw(64):016x}-01"
        context = incoming((("traceparent", trace), ("baggage", "env=dev,tenant=acme")))
        token = attach(context)
        try:
            return call()
        finally:
            detach(token)

    return within


def _called(call: Callable[[], object], count: int) -> dict[str, float]:
    clock = time.perf_counter_ns
    stamps = [clock()]
    for _ in range(count):
        if call() != TEXT:
            raise RuntimeError("a reply was wrong")
        stamps.append(clock())
    took = [after - before for before, after in itertools.pairwise(stamps)]
    return {"p50_us": statistics.median(took) / 1e3}


def _chosen(mesh: Any, count: int) -> dict[str, float]:
    """Choice of an endpoint and bookkeeping, as an integration does it, without a call."""
    target = mesh.target(service.TARGET)
    began = time.thread_time_ns()
    for _ in range(count):
        call = mesh.call(target, PATH, HEADERS)
        call.address  # noqa: B018 - every integration asks
        call.succeeded()
    return {"choice_us": (time.thread_time_ns() - began) / count / 1e3}


def main() -> None:
    kind, where = sys.argv[1:]
    with contextlib.ExitStack() as stack:
        mesh = None
        if kind == "bare":
            call = _bare(int(where))
        else:
            mesh = stack.enter_context(connected(where))
            client = mesh.thrift(service.TARGET, service.loaded().HelloService)
            plain = lambda: client.sayHello(TEXT)  # noqa: E731 - as the one of `_bare`
            call = _traced(plain) if kind == "traced" else plain
        for line in sys.stdin:
            word, count = line.split()
            found = _called(call, int(count)) if word == "call" else _chosen(mesh, int(count))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

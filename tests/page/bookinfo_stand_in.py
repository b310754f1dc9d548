"""A Bookinfo without a mesh: the page's files, made-up answers, and a real receiver that is fed
with what the processes would export. For what no running mesh shows at will: failures, late
spans."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import httpx
import otlp_spans
import uvicorn
from meltemi import page
from meltemi.traces import otlp
from meltemi.traces.receiver import Receiver, bound
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

BOOK = {
    "ID": "1",
    "Title": "《Also sprach Zarathustra》",
    "Author": "Friedrich Nietzsche",
    "Description": "A hermit comes down from his mountain to tell people what he has understood: "
    "that man is something to be overcome. Few listen, and he begins again.",
}
FAILED = {"StatusMessage": "internal error", "StatusCode": 500}


@dataclass
class StandIn:
    """What answers, and how; tests change it while it runs."""

    receiver: str
    url: str
    fails: bool = False
    """Whether reviews cannot be reached."""
    silent: frozenset[str] = frozenset()
    """Services that export nothing."""
    slow_s: float = 0.0
    """How long an answer takes."""
    received: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request for the book."""
    _turn: Iterator[int] = field(default_factory=itertools.count)
    _exporting: set[asyncio.Task[None]] = field(default_factory=set)

    async def product(self, request: Request) -> Response:
        self.received.append(dict(request.headers))
        await asyncio.sleep(self.slow_s)
        trace = secrets.token_hex(16)
        if self.fails:
            self._export(failed(trace))
            return JSONResponse(FAILED, 500, {"x-trace-id": trace})
        dev = request.headers.get("uid") == "100"
        reviews = "v2" if dev else ("v3" if next(self._turn) % 5 == 4 else "v1")
        ratings = {"v1": "v1", "v2": "v2"}.get(reviews)
        lane = "dev" if dev else "baseline"
        self._export(otlp_spans.bookinfo(trace, reviews, ratings, lane, gateway=True))
        served = ["productpage-v1-0", "details-v1-0", f"reviews-{reviews}-0"]
        served += [f"ratings-{ratings}-0"] if ratings else []
        headers = {"x-trace-id": trace, "x-served-by": ",".join(served)}
        rating = {"v1": 1, "v2": 5, "v3": 0}[reviews]
        return JSONResponse({**BOOK, "Rating": rating}, headers=headers)

    def _export(self, spans: list[ResourceSpans]) -> None:
        """Process by process and a moment later, as batches leave."""
        task = asyncio.ensure_future(self._later([s for s in spans if _name(s) not in self.silent]))
        self._exporting.add(task)
        task.add_done_callback(self._exporting.discard)

    async def _later(self, spans: list[ResourceSpans]) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for each in spans:
                await asyncio.sleep(0.05)
                headers = {"content-type": otlp.PROTOBUF}
                url = f"{self.receiver}/v1/traces"
                await client.post(url, content=otlp_spans.export(each), headers=headers)


def _name(resource: ResourceSpans) -> str:
    return resource.resource.attributes[0].value.string_value


def failed(trace: str) -> list[ResourceSpans]:
    """What is exported where reviews cannot be reached."""
    call = otlp_spans.span(
        3, 2, otlp_spans.CLIENT, 2, 5, trace, "ReviewProduct", error="no healthy upstream",
        rpc__system="thrift", server__address="reviews", meltemi__lane="baseline",
    )  # fmt: skip
    served = otlp_spans.span(
        2, trace=trace, name="GET", error="reviews: no healthy upstream",
        url__path="/api/v1/products/1",
    )  # fmt: skip
    return [otlp_spans.of("productpage", "v1", served, call)]


@contextlib.contextmanager
def standing_in(free_port: Callable[[], int], collector: str = "") -> Iterator[StandIn]:
    """Serves on ports of loopback until the end of the block; `collector` is the user's, if any."""
    listening, page_port = bound(free_port()), free_port()
    receiver_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    stand_in = StandIn(receiver_url, f"http://127.0.0.1:{page_port}")
    ours = {"MELTEMI_TRACES": receiver_url, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver_url}
    theirs = {"MELTEMI_TRACES": "", "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    receiver = Receiver()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await receiver.start(listening)
        yield
        await receiver.close()

    api = Starlette(lifespan=lifespan, routes=[Route("/api/v1/products/{id}", stand_in.product)])
    app = page.asgi(api, theirs if collector else ours)
    config = uvicorn.Config(app, host="127.0.0.1", port=page_port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="stand-in")
    thread.start()
    try:
        _wait(stand_in.url)
        yield stand_in
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def _wait(url: str) -> None:
    """Until it answers."""
    for _ in range(500):
        with contextlib.suppress(httpx.ConnectError):
            assert httpx.get(url, trust_env=False).status_code == 200
            return
    raise AssertionError(f"{url} does not answer")

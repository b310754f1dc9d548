"""productpage: a book with its stars, of details and reviews, which are asked at once.

`GET /api/v1/products/ID` answers as the original Bookinfo does; `/` is the page. Headers of an
answer say by whom it was made (`x-served-by`) and what its trace is asked for by (`x-trace-id`)."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import thrift_app
import tracing
import uvicorn
from meltemi import page, proxyless
from meltemi.proxyless import colouring, http_server
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from thrift_app import Answer, HopError, asked

details_idl = thrift_app.idl("details")
reviews_idl = thrift_app.idl("reviews")

FAILED = {"StatusMessage": "internal error", "StatusCode": 500}

log = logging.getLogger("bookinfo")


class Shop:
    """The services that are asked."""

    def __init__(self) -> None:
        mesh = proxyless.connect()
        self.details = mesh.thrift_async(
            "details:8084", details_idl.DetailsService, wire="ttheader", timeout_s=3
        )
        self.reviews = mesh.thrift_async(
            "reviews:8082", reviews_idl.ReviewsService, wire="ttheader", timeout_s=3
        )

    async def product(self, product_id: str) -> tuple[dict[str, Any], str]:
        """What the page shows of a book, and by whom it was made. Raises HopError."""
        review, detail = await _both(
            asked("reviews", self.reviews.ReviewProduct(reviews_idl.ReviewReq(product_id))),
            asked("details", self.details.GetProduct(details_idl.GetProductReq(product_id))),
        )
        book = detail.value.Product
        product = {
            "ID": book.ID,
            "Title": book.Title,
            "Author": book.Author,
            "Description": book.Description,
            "Rating": review.value.Review.Rating,
        }
        return product, f"{thrift_app.ME},{detail.served_by},{review.served_by}"

    def close(self) -> None:
        self.details.close()
        self.reviews.close()


async def _both(*calls: Awaitable[Answer]) -> list[Answer]:
    """The first that fails ends the wait for the other."""
    tasks = [asyncio.ensure_future(each) for each in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def product(request: Request) -> Response:
    with tracing.serving(
        "GET /api/v1/products/{id}",
        http__request__method="GET",
        http__route="/api/v1/products/{id}",
        url__path=request.url.path,
    ) as span:
        headers = {"cache-control": "no-store"}
        if trace_id := tracing.trace_id(span):
            headers["x-trace-id"] = trace_id
        product_id = request.path_params["id"]
        try:
            found, served_by = await request.state.shop.product(product_id)
        except HopError as error:
            log.error("product %r failed: %s", product_id, error)
            span.set_status(StatusCode.ERROR, str(error))
            span.set_attribute("http.response.status_code", 500)
            return JSONResponse(FAILED, 500, headers)
        span.set_attribute("http.response.status_code", 200)
        headers["x-served-by"] = served_by
        return JSONResponse(found, headers=headers)


async def broken(_request: Request, _error: Exception) -> Response:
    """What nobody thought of is answered as the rest; its traceback is in the log."""
    return JSONResponse(FAILED, 500)


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    shop = Shop()
    yield {"shop": shop}
    shop.close()


def in_context(site: Starlette) -> Any:
    """Each request is served in the context that it came with; where there is no gateway, with the
    marks that the rules in the file COLOURING give it, and no others."""
    rules = os.environ.get("COLOURING")
    if rules is None:
        return http_server.asgi(site)
    return colouring.asgi(site, rules=colouring.rules_from(rules))


site = Starlette(
    lifespan=lifespan,
    routes=[Route("/api/v1/products/{id}", product)],
    exception_handlers={Exception: broken},
)
app = page.asgi(in_context(site))


def main() -> None:
    # uvicorn lets what is under way come to its end, and then repeats the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(format="%(levelname)s %(message)s")
    tracing.install()
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    print(f"listening on http://{host}:{port}", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()

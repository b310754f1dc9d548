"""Answers `GET /` with the versions that served it: details by httpx, reviews by Thrift, and
ratings, which reviews asked. A `baggage` header goes on with all of them."""

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import thriftpy2
from meltemi import proxyless
from meltemi.proxyless import http_server

shop = thriftpy2.load(str(Path(__file__).with_name("shop.thrift")), module_name="shop_thrift")
mesh = proxyless.connect()
details = mesh.httpx("http://details:9080", timeout=3)
reviews = mesh.thrift("reviews:9080", shop.Reviews, timeout_s=3)


def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    try:
        review = reviews.one("Emma")
        served = {
            "details": details.get("/Emma").json()["version"],
            "reviews": review.version,
            "ratings": review.stars_by,
        }
    except Exception as error:
        start_response("502 Bad Gateway", [("content-type", "text/plain")])
        return [f"{type(error).__name__}: {error}\n".encode()]
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(served).encode(), b"\n"]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Says nothing of single requests."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    server = make_server(host, port, http_server.wsgi(app), handler_class=Quiet)
    print(f"listening on http://{host}:{port}", flush=True)
    server.serve_forever()

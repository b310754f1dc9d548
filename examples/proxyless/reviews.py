"""Answers over Thrift, and asks ratings over gRPC, in the context that its caller sent."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import thriftpy2
from meltemi import proxyless
from meltemi.proxyless.thrift import mesh_server
from thriftpy2.rpc import make_server

shop = thriftpy2.load(str(Path(__file__).with_name("shop.thrift")), module_name="shop_thrift")


class Reviews:
    def __init__(self) -> None:
        channel = proxyless.connect().grpc("ratings:9080")
        self._rating = channel.unary_unary("/shop.Ratings/One")

    def one(self, book: str) -> Any:
        stars_by = self._rating(book.encode(), timeout=3).decode()
        return shop.Review(os.environ["VERSION"], f"{book} is worth it", stars_by)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = os.environ["HOST"], int(os.environ["PORT"])
    server = make_server(shop.Reviews, Reviews(), *address, client_timeout=None)
    print("listening on {}:{}".format(*address), flush=True)
    mesh_server(server).serve()

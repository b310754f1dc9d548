"""Answers over gRPC with its version. The interceptor serves each call in the context it came
with."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from meltemi.proxyless import grpc_server


def one(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    return os.environ["VERSION"].encode()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = grpc.server(ThreadPoolExecutor(), interceptors=[grpc_server.interceptor()])
    handlers = {"One": grpc.unary_unary_rpc_method_handler(one)}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("shop.Ratings", handlers)]
    )
    address = f"{os.environ['HOST']}:{os.environ['PORT']}"
    server.add_insecure_port(address)
    server.start()
    print(f"listening on {address}", flush=True)
    server.wait_for_termination()

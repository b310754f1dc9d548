"""A gRPC server that answers every method with the version that it runs as.

`Flaky` is unavailable to whoever has not asked twice before, `Slow` takes 5 s."""

from __future__ import annotations

import os
import signal
import time
from concurrent import futures

import grpc

SLOW_S = 5.0


class Everything(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Bytes in, the version out."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = details.method.rpartition("/")[2]

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            given = dict(context.invocation_metadata())
            if method == "Flaky" and int(given.get("grpc-previous-rpc-attempts", "0")) < 2:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
            if method == "Slow":
                time.sleep(SLOW_S)
            return os.environ["VERSION"].encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Everything(),))
    server.add_insecure_port(f"{os.environ['HOST']}:{os.environ['PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()

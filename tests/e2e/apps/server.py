"""One process that serves `hello.thrift` on each of its ports: PORT_<LIBRARY>_<VARIANT>."""

from __future__ import annotations

import os
import signal
import threading

import apache
import thriftpy2_hello
from thrift.server.TServer import TThreadedServer
from thrift.transport import TSocket, TTransport
from thriftpy2.rpc import make_server


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host = os.environ["HOST"]
    threads = []
    for name, port in sorted(os.environ.items()):
        if name.startswith("PORT_") and port.isdigit():
            words = name.removeprefix("PORT_TCP_METAPROTOCOL_THRIFT_").lower().split("_")
            serve = serve_apache if words[0] == "apache" else serve_thriftpy2
            threads.append(
                threading.Thread(target=serve, args=("-".join(words[1:]), host, int(port)))
            )
    for thread in threads:
        thread.start()
    print(f"serving on {len(threads)} ports", flush=True)


def serve_thriftpy2(variant: str, host: str, port: int) -> None:
    protocol, transport = thriftpy2_hello.VARIANTS[variant]
    make_server(
        thriftpy2_hello.hello.HelloService,
        thriftpy2_hello.Handler(),
        host,
        port,
        proto_factory=protocol(),
        trans_factory=transport(),
    ).serve()


def serve_apache(variant: str, host: str, port: int) -> None:
    protocol, transport = apache.VARIANTS[variant]
    listener = TSocket.TServerSocket(host, port)
    plain = TTransport.TTransportFactoryBase()  # THeader brings its own transport
    factory = transport() if transport is not None else plain
    TThreadedServer(apache.Processor(), listener, factory, protocol()).serve()


if __name__ == "__main__":
    main()

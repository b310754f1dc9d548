"""Answers `sayHello` with its own name, so that one sees who answered."""

import os
import signal
import sys
from pathlib import Path

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.rpc import make_server
from thriftpy2.transport import TFramedTransportFactory

hello = thriftpy2.load(str(Path(__file__).with_name("hello.thrift")), module_name="hello_thrift")


class HelloService:
    def sayHello(self, name: str) -> str:
        me = f"{os.environ['POD_NAME']}/{os.environ['INSTANCE_IP']}"
        return f"{os.environ.get('GREETING', 'Hello')} {name}, response from {me}"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    server = make_server(
        hello.HelloService,
        HelloService(),
        host,
        port,
        proto_factory=TBinaryProtocolFactory(),
        trans_factory=TFramedTransportFactory(),
    )
    print(f"listening on {host}:{port}", flush=True)
    server.serve()


if __name__ == "__main__":
    main()

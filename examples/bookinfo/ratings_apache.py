"""ratings by Apache Thrift's own Python library, which knows THeader and not Kitex's TTHeader: its
caller finds that out. What `thrift --gen py` would make of the IDL is written by hand.

The lane's mark is in the header of a call, as `baggage`; the log shows it."""

import os
import signal
import sys
from typing import Any

from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.server.TServer import TThreadedServer
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TSocket import TServerSocket


class Ratings:
    """Serves `RatingService`, whatever the book."""

    def process(self, received: Any, sent: Any) -> bool:
        method, _, sequence = received.readMessageBegin()
        received.skip(TType.STRUCT)
        received.readMessageEnd()
        sent.trans.set_header(b"served-by", os.environ["POD_NAME"].encode())
        if method == "ratings":
            mark = received.trans.get_headers().get(b"baggage", b"").decode()
            print(f"{method}: baggage {mark!r}", flush=True)
            sent.writeMessageBegin(method, TMessageType.REPLY, sequence)
            self._result(sent)
        else:
            sent.writeMessageBegin(method, TMessageType.EXCEPTION, sequence)
            TApplicationException(TApplicationException.UNKNOWN_METHOD, method).write(sent)
        sent.writeMessageEnd()
        sent.trans.flush()
        return True

    def _result(self, sent: Any) -> None:
        """`{0: RatingResp{1: i8 Rating}}`."""
        sent.writeStructBegin("ratings_result")
        sent.writeFieldBegin("success", TType.STRUCT, 0)
        sent.writeStructBegin("RatingResp")
        sent.writeFieldBegin("Rating", TType.BYTE, 1)
        sent.writeByte(int(os.environ["RATINGS_VALUE"]))
        sent.writeFieldEnd()
        sent.writeFieldStop()
        sent.writeStructEnd()
        sent.writeFieldEnd()
        sent.writeFieldStop()
        sent.writeStructEnd()

    def on_message_begin(self, _: Any) -> None:
        """Apache's servers ask for it."""


class AsItIs:
    """A THeader protocol brings its transport with it."""

    def getTransport(self, transport: Any) -> Any:
        return transport


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    header = THeaderProtocolFactory()
    server = TThreadedServer(
        Ratings(), TServerSocket(host, port), None, None, header, header, daemon=True
    )
    server.inputTransportFactory = server.outputTransportFactory = AsItIs()
    print(f"listening on {host}:{port}", flush=True)
    server.serve()

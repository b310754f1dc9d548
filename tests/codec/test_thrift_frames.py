"""Why frames are checked: what servers do with a second message in one frame."""

from __future__ import annotations

import struct

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer
from thrift_looker import golden, looker


def test_the_second_message_of_a_frame_which_apache_would_serve_is_refused() -> None:
    call = next(m for m in golden() if m["name"] == "apache-unframed-strict-call-sayHello")
    message = bytes.fromhex(call["hex"])
    frame = struct.pack(">I", 2 * len(message)) + 2 * message

    protocol = TBinaryProtocol(TFramedTransport(TMemoryBuffer(frame)))
    for _ in range(2):
        assert protocol.readMessageBegin() == ("sayHello", TMessageType.CALL, 7)
        protocol.skip(TType.STRUCT)
        protocol.readMessageEnd()

    seen = looker()(frame)
    assert not seen["frames"]
    assert seen["error"] == f"byte {4 + len(message)}: bytes behind the message in its frame"

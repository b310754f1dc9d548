"""Why frames can be checked: what servers do with a second message in one frame."""

from __future__ import annotations

import struct

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer
from thrift_looker import golden, looker


def test_apache_serves_the_second_message_of_a_frame_which_the_codec_counts_as_one() -> None:
    call = next(m for m in golden() if m["name"] == "apache-unframed-strict-call-sayHello")
    message = bytes.fromhex(call["hex"])
    frame = struct.pack(">I", 2 * len(message)) + 2 * message

    protocol = TBinaryProtocol(TFramedTransport(TMemoryBuffer(frame)))
    for _ in range(2):
        assert protocol.readMessageBegin() == ("sayHello", TMessageType.CALL, 7)
        protocol.skip(TType.STRUCT)
        protocol.readMessageEnd()

    # Forwarded by its length: that is what `Thrift::checking_frames` is for.
    assert [seen["end"] for seen in looker()(frame)["frames"]] == [len(frame)]

"""One gRPC call over HTTP/2, without a socket: a server of h2's speaks with it."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import pytest
from meltemi.xds.grpc_stream import GrpcStream, Metadata, StreamEnded

METHOD = "/a.Service/Method"
HEADERS = [(":status", "200"), ("content-type", "application/grpc"), ("x-a", "b")]


class Pair:
    """A stream and the server at its other end; bytes go over in pieces of `piece`."""

    def __init__(self, *metadata: tuple[str, str], piece: int = 1 << 20) -> None:
        self.stream = GrpcStream(METHOD, "server:1", metadata)
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.server = h2.connection.H2Connection(config)
        self.server.initiate_connection()
        self.piece = piece
        self.events: list[h2.events.Event] = []
        self.found: list[bytes | Metadata] = []
        self.run()

    def run(self) -> None:
        """Moves bytes both ways until none are left."""
        while True:
            to_server, to_client = self.stream.outgoing(), self.server.data_to_send()
            if not to_server and not to_client:
                return
            if to_server:
                self.events += self.server.receive_data(to_server)
            for at in range(0, len(to_client), self.piece):
                self.found += self.stream.receive(to_client[at : at + self.piece])

    def answer(self, *messages: bytes) -> None:
        self.server.send_headers(1, HEADERS)
        for each in messages:
            data = b"\0" + len(each).to_bytes(4, "big") + each
            for at in range(0, len(data), 16_000):
                self.server.send_data(1, data[at : at + 16_000])
                self.run()

    def end(self, status: str = "0", message: str = "") -> None:
        trailers = [("grpc-status", status), ("grpc-message", message)]
        self.server.send_headers(1, trailers, end_stream=True)
        self.run()

    def received(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, h2.events.DataReceived))


def test_the_request_is_what_grpc_asks_for() -> None:
    pair = Pair(("authorization", "Bearer t"))
    (request,) = (e for e in pair.events if isinstance(e, h2.events.RequestReceived))
    headers = {str(name): str(value) for name, value in request.headers or ()}
    assert headers[":path"] == METHOD
    assert (headers[":method"], headers[":authority"]) == ("POST", "server:1")
    assert (headers["te"], headers["content-type"]) == ("trailers", "application/grpc")
    assert headers["authorization"] == "Bearer t"


def test_messages_are_sent_with_their_length() -> None:
    pair = Pair()
    pair.stream.send(b"hello")
    pair.stream.send(b"")
    pair.run()
    assert pair.received() == b"\0\0\0\0\5hello\0\0\0\0\0"


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
def test_messages_are_whole_however_their_bytes_arrive(piece: int) -> None:
    pair = Pair(piece=piece)
    pair.answer(b"a", b"", b"c" * 300)
    assert pair.found == [Metadata(dict(HEADERS)), b"a", b"", b"c" * 300]
    assert pair.stream.ended is None


def test_a_message_may_be_larger_than_all_windows() -> None:
    pair = Pair()
    large = b"x" * 12_000_000
    pair.answer(large)
    assert pair.found[1:] == [large]


def test_what_is_larger_than_the_servers_window_waits_for_it() -> None:
    pair = Pair()
    large = b"y" * 200_000
    pair.stream.send(large)
    pair.run()
    assert len(pair.received()) == 65_535
    while len(pair.received()) < len(large) + 5:
        before = len(pair.received())
        pair.server.increment_flow_control_window(60_000)
        pair.server.increment_flow_control_window(60_000, 1)
        pair.run()
        assert len(pair.received()) > before
    assert pair.received()[5:] == large


def test_the_end_says_the_servers_word_and_reason() -> None:
    pair = Pair()
    pair.answer(b"last")
    pair.end("16", "the token%20is over")
    assert pair.found[-1] == b"last"
    assert pair.stream.ended == StreamEnded("UNAUTHENTICATED", "the token is over")


def test_the_servers_reason_is_one_short_line() -> None:
    pair = Pair()
    pair.answer(b"last")
    pair.end("14", "down%0D%0AWARNING: all is lost%1B[2J" + "x" * 5000)
    assert pair.stream.ended is not None
    assert pair.stream.ended.details.startswith("down  WARNING: all is lost [2Jxxx")
    assert len(pair.stream.ended.details) == 1000


def test_an_end_without_messages_is_an_end() -> None:
    pair = Pair()
    headers = [*HEADERS, ("grpc-status", "12"), ("grpc-message", "no such method")]
    pair.server.send_headers(1, headers, end_stream=True)
    pair.run()
    assert pair.stream.ended == StreamEnded("UNIMPLEMENTED", "no such method")


def test_a_server_that_goes_away_is_left_with_all_that_it_said() -> None:
    pair = Pair()
    pair.answer(b"last")
    pair.server.close_connection(additional_data=b"max_age")
    data = pair.server.data_to_send()
    ping = b"\0\0\x08\x06\0\0\0\0\0" + b"p" * 8
    assert pair.stream.receive(data + ping) == []
    assert pair.found[-1] == b"last"
    assert pair.stream.ended == StreamEnded("UNAVAILABLE", "the server goes away (max_age)")
    pair.stream.send(b"into nothing")


def test_a_reset_is_an_end() -> None:
    pair = Pair()
    pair.server.reset_stream(1, error_code=2)
    pair.run()
    assert pair.stream.ended == StreamEnded("UNAVAILABLE", "the stream was reset (INTERNAL_ERROR)")


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"", "the connection was closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no HTTP/2 comes from there"),
        (b"\0\0\4\x08\0\0\0\0\1\0\0\0\0", "no HTTP/2 comes from there"),
    ],
)
def test_what_is_no_http2_is_an_end(data: bytes, details: str) -> None:
    stream = GrpcStream(METHOD, "server:1", ())
    assert stream.receive(data) == []
    assert stream.ended is not None
    assert stream.ended.code == "UNAVAILABLE"
    assert details in stream.ended.details


def test_a_server_of_http_is_not_one_of_grpc() -> None:
    pair = Pair()
    pair.server.send_headers(1, [(":status", "404"), ("content-type", "text/html")])
    pair.run()
    assert pair.stream.ended == StreamEnded("UNAVAILABLE", "no gRPC: HTTP status 404, text/html")


def test_compressed_messages_are_refused() -> None:
    pair = Pair()
    pair.server.send_headers(1, HEADERS)
    pair.server.send_data(1, b"\1\0\0\0\1x")
    pair.run()
    assert pair.stream.ended is not None
    assert pair.stream.ended.code == "INTERNAL"


def test_pings_count_until_they_are_answered() -> None:
    pair = Pair()
    pair.stream.ping()
    assert pair.stream.pings_unanswered == 1
    pair.run()
    assert pair.stream.pings_unanswered == 0

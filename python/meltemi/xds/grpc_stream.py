"""One gRPC call with a stream each way, over HTTP/2, without I/O: bytes in, messages out.

grpcio's channel does not live through a fork, and a pre-forking server's children must go on; h2
knows no sockets and no threads. `blocking_client` owns the socket. The wire: gRPC's PROTOCOL-HTTP2.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

logging.getLogger("hpack").setLevel(logging.INFO)  # at DEBUG it writes every header: the token

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What a server may send before we answer that it was read: a whole mesh in one go."""
MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
"""A length above it is no response of a control plane, but bytes of something else."""
SHOWN_CHARS: Final = 1000
"""Of what a server says about the end."""
FRAME_HEAD_BYTES: Final = 9
PREFIX_BYTES: Final = 5
CODES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    "UNAUTHENTICATED",
)


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The call is over. `code` is gRPC's word, `details` what the server said."""

    code: str
    details: str

    def __str__(self) -> str:
        return f"{self.code}: {self.details}"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The server's initial metadata came."""

    headers: dict[str, str]


class GrpcStream:
    """One call on a connection of its own."""

    def __init__(self, method: str, authority: str, metadata: Sequence[tuple[str, str]]) -> None:
        """`method`: `/package.Service/Method`. What is to be sent is in `outgoing` at once."""
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._http = h2.connection.H2Connection(config)
        self._http.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 64 * 1024,
            },
        )
        self._http.initiate_connection()
        self._http.increment_flow_control_window(WINDOW_BYTES)
        self._stream = self._http.get_next_available_stream_id()
        self._http.send_headers(
            self._stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "meltemi-xds"),
                *metadata,
            ],
        )
        self._unsent = bytearray()
        self._partial = bytearray()
        """The beginning of a frame."""
        self._received = bytearray()
        """The beginning of a message."""
        self._status: dict[str, str] = {}
        self.pings_unanswered = 0
        self.ended: StreamEnded | None = None

    def send(self, message: bytes) -> None:
        """Sends a message, as far as the server's window allows; the rest when it opens. After the
        end nothing is sent."""
        self._unsent += b"\0" + len(message).to_bytes(4, "big") + message
        self._flush()

    def ping(self) -> None:
        """Asks whether anybody is there. `pings_unanswered` counts until an answer comes."""
        self.pings_unanswered += 1
        if self.ended is None:
            self._http.ping(b"meltemi\0")

    def outgoing(self) -> bytes:
        """What is to be written to the socket now."""
        data: bytes = self._http.data_to_send()
        return data

    def receive(self, data: bytes) -> list[bytes | Metadata]:
        """What bytes of the socket bring, b"" being its end; then `ended` says how it ended."""
        if not data:
            self._end_with("UNAVAILABLE", "the connection was closed")
            return []
        found: list[bytes | Metadata] = []
        try:
            for frame in self._frames(data):
                for event in self._http.receive_data(frame):
                    found += self._take(event)
                if self.ended is not None:
                    break
        except h2.exceptions.ProtocolError as exc:
            self._end_with("UNAVAILABLE", f"no HTTP/2 comes from there ({exc})")
        return found

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Whole frames, one by one: h2 forgets the events of frames before one that it refuses,
        and refuses all that follow a GOAWAY."""
        self._partial += data
        while len(self._partial) >= FRAME_HEAD_BYTES:
            length = int.from_bytes(self._partial[:3], "big")
            if length > self._http.max_inbound_frame_size:
                raise h2.exceptions.FrameTooLargeError(f"a frame of {length} bytes")
            if len(self._partial) < FRAME_HEAD_BYTES + length:
                return
            yield bytes(self._partial[: FRAME_HEAD_BYTES + length])
            del self._partial[: FRAME_HEAD_BYTES + length]

    def _end_with(self, code: str, details: str) -> None:
        """`details` may be the server's own words: they go into the log as one line."""
        shown = "".join(each if each.isprintable() else " " for each in details[:SHOWN_CHARS])
        self.ended = self.ended or StreamEnded(code, shown)

    def _take(self, event: Any) -> list[bytes | Metadata]:
        match event:
            case h2.events.ResponseReceived():
                return [self._metadata(_headers(event))]
            case h2.events.DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length, self._stream)
                self._received += event.data
                return list(self._messages())
            case h2.events.TrailersReceived():
                self._status = _headers(event)
            case h2.events.StreamEnded():
                self._end()
            case h2.events.StreamReset():
                self._end_with("UNAVAILABLE", f"the stream was reset ({_word(event)})")
            case h2.events.ConnectionTerminated():
                said = (event.additional_data or b"").decode("utf-8", "replace")
                self._end_with("UNAVAILABLE", f"the server goes away ({said or _word(event)})")
            case h2.events.PingAckReceived():
                self.pings_unanswered = 0
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self._flush()
        return []

    def _metadata(self, headers: dict[str, str]) -> Metadata:
        self._status = headers
        status, kind = headers.get(":status", ""), headers.get("content-type", "")
        if status != "200" or not kind.startswith("application/grpc"):
            what = f"no gRPC: HTTP status {status}, {kind or 'no content type'}"
            self._end_with("UNAVAILABLE", what)
        return Metadata(headers)

    def _messages(self) -> Iterator[bytes]:
        while len(self._received) >= PREFIX_BYTES:
            length = int.from_bytes(self._received[1:PREFIX_BYTES], "big")
            if self._received[0] or length > MAX_MESSAGE_BYTES:
                self._end_with("INTERNAL", "what comes is compressed, which was not offered")
                self._received.clear()
            if len(self._received) < PREFIX_BYTES + length:
                return
            yield bytes(self._received[PREFIX_BYTES : PREFIX_BYTES + length])
            del self._received[: PREFIX_BYTES + length]

    def _end(self) -> None:
        number = self._status.get("grpc-status", "")
        details = unquote(self._status.get("grpc-message", ""))
        if not number.isdigit():
            self._end_with("UNKNOWN", details or "the stream ended without a status")
            return
        code = CODES[int(number)] if int(number) < len(CODES) else f"code {number}"
        self._end_with(code, details or "the server ended the stream")

    def _flush(self) -> None:
        while self._unsent and self.ended is None:
            window = self._http.local_flow_control_window(self._stream)
            size = min(window, self._http.max_outbound_frame_size, len(self._unsent))
            if size <= 0:
                return
            self._http.send_data(self._stream, bytes(self._unsent[:size]))
            del self._unsent[:size]


def _headers(event: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in event.headers}


def _word(event: Any) -> str:
    code = event.error_code
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"code {code}"

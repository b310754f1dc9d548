"""Dubbo 2 over TCP in hessian2: frames, a provider that serves them, a consumer that sends them.

A frame is a header of 16 bytes (magic, flags, status, id, length of the body) and a body. Of a
request: Dubbo's version, the interface, the service's version, the method, the types of the
parameters as Java descriptors (`Ljava/lang/String;I`), the arguments, and the attachments, a map.
Of a reply whose status is 20: what comes (EXCEPTION, VALUE or NULL below), the value, and the
attachments where there are any. Of any other reply: the reason, a string."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from hessian2 import HessianError, Instance, Long, Reader, Writer

HEADER = struct.Struct(">2sBBQi")
MAGIC = b"\xda\xbb"
DUBBO_VERSION = "2.0.2"
# Flags; the low five bits name the serialization.
REQUEST, TWO_WAY, EVENT, SERIALIZATION = 0x80, 0x40, 0x20, 0x1F
HESSIAN2 = 2
# Statuses of replies.
OK, BAD_REQUEST, SERVICE_NOT_FOUND, SERVER_ERROR = 20, 40, 60, 80
# What a reply of status OK holds; plus 3 where attachments follow.
EXCEPTION, VALUE, NULL, WITH_ATTACHMENTS = 0, 1, 2, 3
_PARAMETER = re.compile(r"\[*(?:[VZBCDFIJS]|L[^;]+;)")


@dataclass(frozen=True)
class Request:
    """A call, or an event (a heartbeat is the event None that wants an answer)."""

    interface: str = ""
    method: str = ""
    arguments: tuple[object, ...] = ()
    attachments: Mapping[str, object] = field(default_factory=dict)
    version: str = "0.0.0"
    types: str | None = None  # None: told from the arguments
    id: int = 0
    two_way: bool = True
    event: bool = False
    dubbo_version: str = DUBBO_VERSION


@dataclass(frozen=True)
class Reply:
    """An answer: with status OK a value, a null or an exception of the service; else a reason."""

    id: int = 0
    status: int = OK
    value: object = None
    exception: bool = False
    attachments: Mapping[str, object] | None = None
    event: bool = False

    @property
    def failed(self) -> bool:
        return self.status != OK or self.exception

    @property
    def reason(self) -> str:
        """What an exception or an error says; empty where it is none."""
        if not self.failed:
            return ""
        if isinstance(self.value, Instance):
            return str(self.value.fields.get("detailMessage"))
        return str(self.value)


class FrameError(ValueError):
    """The bytes are no Dubbo frame."""


def encode_request(request: Request) -> bytes:
    """The frame of a call or of an event. Raises HessianError for an argument that has no form."""
    flags = REQUEST | HESSIAN2 | (TWO_WAY if request.two_way else 0)
    if request.event:
        value = request.arguments[0] if request.arguments else None
        return _frame(flags | EVENT, 0, request.id, Writer().write(value))
    types = descriptors(request.arguments) if request.types is None else request.types
    body = Writer()
    names = (request.dubbo_version, request.interface, request.version, request.method, types)
    attachments = {"path": request.interface, "interface": request.interface}
    for value in (*names, *request.arguments, {**attachments, **request.attachments}):
        body.write(value)
    return _frame(flags, 0, request.id, body)


def encode_reply(reply: Reply) -> bytes:
    """The frame of an answer. Raises HessianError for a value that has no form."""
    body = Writer()
    if reply.event:
        return _frame(HESSIAN2 | EVENT, reply.status, reply.id, body.write(reply.value))
    if reply.status != OK:
        return _frame(HESSIAN2, reply.status, reply.id, body.write(str(reply.value)))
    what = EXCEPTION if reply.exception else NULL if reply.value is None else VALUE
    body.write(what + (0 if reply.attachments is None else WITH_ATTACHMENTS))
    if what != NULL:
        body.write(reply.value)
    if reply.attachments is not None:
        body.write(dict(reply.attachments))
    return _frame(HESSIAN2, OK, reply.id, body)


def decode(frame: bytes) -> Request | Reply:
    """What one complete frame says. Raises FrameError."""
    magic, flags, status, number, length = HEADER.unpack_from(frame)
    if magic != MAGIC or len(frame) != HEADER.size + length:
        raise FrameError("this is not one Dubbo frame")
    if flags & SERIALIZATION != HESSIAN2:
        raise FrameError(f"serialization {flags & SERIALIZATION}; only hessian2 (2) is read here")
    body = Reader(frame, HEADER.size)
    try:
        if not flags & REQUEST:
            return _reply(flags, status, number, body)
        request = Request(id=number, two_way=bool(flags & TWO_WAY), event=bool(flags & EVENT))
        if request.event:
            return replace(request, arguments=(body.read(),), types="")
        return _call(request, body)
    except HessianError as error:
        raise FrameError(str(error)) from error


def read_frame(connection: socket.socket) -> bytes:
    """The next frame of a connection; empty where the peer has closed it. Raises FrameError."""
    header = _exactly(connection, HEADER.size)
    if not header:
        return b""
    magic, *_, length = HEADER.unpack(header)
    if magic != MAGIC or length < 0:
        raise FrameError("this is not Dubbo")
    return header + _exactly(connection, length)


def descriptors(arguments: tuple[object, ...]) -> str:
    """The Java types that the arguments have, as a consumer names them."""
    return "".join(_descriptor(argument) for argument in arguments)


Handler = Callable[[Request], object]


class Provider(socketserver.ThreadingTCPServer):
    """Serves calls: `handler` gets each, and returns the value or a `Reply`.

    What it raises is answered as an exception. The calls of one connection are served together, as
    Dubbo's are; heartbeats are answered here."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Handler, threads: int = 16) -> None:
        super().__init__(address, _Connection)
        self.handler = handler
        self.calls = ThreadPoolExecutor(threads, "dubbo-call")

    def start(self) -> Provider:
        """Serves in a thread of its own, until `stop`."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.calls.shutdown(wait=False, cancel_futures=True)

    def answer(self, request: Request) -> Reply:
        try:
            value = self.handler(request)
        except Exception as error:  # whatever the service raises is its answer
            value = Reply(value=thrown("java.lang.RuntimeException", str(error)), exception=True)
        found = value if isinstance(value, Reply) else Reply(value=value)
        if found.attachments is None and found.status == OK:
            found = replace(found, attachments={"dubbo": DUBBO_VERSION})
        return replace(found, id=request.id)


class _Connection(socketserver.BaseRequestHandler):
    server: Provider

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writing = threading.Lock()

    def handle(self) -> None:
        # RuntimeError: a call that comes while the provider stops.
        with contextlib.suppress(OSError, FrameError, RuntimeError):
            while frame := read_frame(self.request):
                message = decode(frame)
                if isinstance(message, Reply):
                    continue
                if not message.event:
                    self.server.calls.submit(self._serve, message)
                elif message.two_way:
                    self._send(encode_reply(Reply(id=message.id, event=True)))

    def _serve(self, request: Request) -> None:
        reply = self.server.answer(request)
        if not request.two_way:
            return
        try:
            frame = encode_reply(reply)
        except HessianError as error:
            frame = encode_reply(Reply(id=request.id, status=SERVER_ERROR, value=str(error)))
        self._send(frame)

    def _send(self, frame: bytes) -> None:
        with self._writing, contextlib.suppress(OSError):
            self.request.sendall(frame)


class Consumer:
    """One connection to a provider, for any number of calls in flight, of any number of threads."""

    def __init__(self, host: str, port: int, timeout_s: float = 10.0) -> None:
        """Raises OSError where nobody listens."""
        self.timeout_s = timeout_s
        self._connection = socket.create_connection((host, port), timeout_s)
        self._connection.settimeout(None)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writing = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        self._ids = itertools.count(1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def call(self, request: Request) -> Reply:
        """Sends a call and waits for its answer. Raises ConnectionError or TimeoutError."""
        return self.send(request).result(self.timeout_s)

    def send(self, request: Request) -> Future[Reply]:
        """Sends a call under an id of its own; the future is done when the answer is here.

        That of a oneway call is done at once, with an empty reply.
        Raises ConnectionError, and HessianError for an argument that has no form."""
        number = request.id or next(self._ids)
        frame = encode_request(replace(request, id=number))
        answer: Future[Reply] = Future()
        if request.two_way:
            self._waiting[number] = answer
        else:
            answer.set_result(Reply(id=number))
        try:
            with self._writing:
                self._connection.sendall(frame)
        except OSError as error:
            self._waiting.pop(number, None)
            raise ConnectionError(f"the connection is lost: {error}") from error
        if request.two_way and not self._reader.is_alive():
            self._lost()
        return answer

    def heartbeat(self) -> Reply:
        """Sends a heartbeat and waits for its answer, as `call` does."""
        return self.call(Request(event=True))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, FrameError):
            while frame := read_frame(self._connection):
                message = decode(frame)
                if isinstance(message, Reply):
                    if waiting := self._waiting.pop(message.id, None):
                        waiting.set_result(message)
                elif message.two_way:
                    with self._writing:
                        self._connection.sendall(encode_reply(Reply(id=message.id, event=True)))
        self._lost()

    def _lost(self) -> None:
        while self._waiting:
            with contextlib.suppress(KeyError):
                _, waiting = self._waiting.popitem()
                waiting.set_exception(ConnectionError("the connection is lost"))


def thrown(name: str, message: str) -> Instance:
    """A Java exception of the class `name`."""
    return Instance(name, {"detailMessage": message, "stackTrace": [], "suppressedExceptions": []})


def _call(request: Request, body: Reader) -> Request:
    dubbo_version, interface, version, method, types = (body.text() or "" for _ in range(5))
    arguments = tuple(body.read() for _ in _PARAMETER.findall(types))
    attachments = None if body.at_end else body.read()
    if not isinstance(attachments, dict | None):
        raise FrameError("attachments that are no map")
    return replace(
        request,
        dubbo_version=dubbo_version,
        interface=interface,
        version=version,
        method=method,
        types=types,
        arguments=arguments,
        attachments={str(name): value for name, value in (attachments or {}).items()},
    )


def _reply(flags: int, status: int, number: int, body: Reader) -> Reply:
    reply = Reply(id=number, status=status, event=bool(flags & EVENT))
    if reply.event or status != OK:
        return replace(reply, value=body.read())
    what = body.number()
    if not EXCEPTION <= what <= NULL + WITH_ATTACHMENTS:
        raise FrameError(f"a reply of type {what}")
    value = None if what % WITH_ATTACHMENTS == NULL else body.read()
    attachments = body.read() if what >= WITH_ATTACHMENTS else None
    if not isinstance(attachments, dict | None):
        raise FrameError("attachments that are no map")
    exception = what % WITH_ATTACHMENTS == EXCEPTION
    return replace(reply, value=value, exception=exception, attachments=attachments)


def _descriptor(value: object) -> str:
    if isinstance(value, Instance):
        return f"L{value.name.replace('.', '/')};"
    if isinstance(value, bool):
        return "Z"
    if isinstance(value, int):
        return "J" if isinstance(value, Long) or not -(2**31) <= value < 2**31 else "I"
    for kind, name in (
        (str, "Ljava/lang/String;"),
        (float, "D"),
        (bytes, "[B"),
        (list, "Ljava/util/List;"),
        (dict, "Ljava/util/Map;"),
    ):
        if isinstance(value, kind):
            return name
    return "Ljava/lang/Object;"


def _frame(flags: int, status: int, number: int, body: Writer) -> bytes:
    return HEADER.pack(MAGIC, flags, status, number, len(body.out)) + bytes(body.out)


def _exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes; empty where the peer has closed."""
    found = bytearray()
    while len(found) < count:
        more = connection.recv(min(count - len(found), 1 << 18))
        if not more:
            return b""
        found += more
    return bytes(found)

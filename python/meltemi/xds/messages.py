"""Every protobuf message that goes over the wire, in a descriptor pool of our own.

The pool is private so that it lives beside other packages' copies of Envoy's API (`xds-protos`,
`grpcio-csds`), and lazy: a file of `descriptors.binpb` is built when a message in it is first asked
for. `translate` builds resources with it; `server` and `client` speak with it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

from meltemi.xds.resource import Resource

TYPE_PREFIX: Final = "type.googleapis.com/"

LISTENER: Final = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
CLUSTER: Final = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
WORKLOAD: Final = TYPE_PREFIX + "istio.workload.Address"
"""Who is at an address: a resource's name is the IP."""
NAME_TABLE: Final = TYPE_PREFIX + "istio.networking.nds.v1.NameTable"
EXTENSION_CONFIG: Final = TYPE_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
"""A configuration that is no listener's, by a name of its own."""
META_PROTOCOL_PROXY: Final = TYPE_PREFIX + "aeraki.meta_protocol_proxy.v1alpha.MetaProtocolProxy"

VERSION_BYTES: Final = 8
"""Of a resource's version: two bodies of one name share one by chance in 2**64."""


class UnknownMessageError(LookupError):
    """A message's name that the descriptors do not hold."""


class _Files:
    """The descriptor database that the pool asks: files by name, and by a symbol in them."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._files = {file.name: file for file in files}
        self._file_of = {
            f"{file.package}.{symbol.name}": file.name
            for file in self._files.values()
            for symbols in (file.message_type, file.enum_type, file.extension, file.service)
            for symbol in symbols
        }

    def FindFileByName(self, name: str) -> descriptor_pb2.FileDescriptorProto:
        return self._files[name]

    def FindFileContainingSymbol(self, symbol: str) -> descriptor_pb2.FileDescriptorProto:
        outer = symbol
        while outer:
            if outer in self._file_of:
                return self._files[self._file_of[outer]]
            outer = outer.rpartition(".")[0]
        raise KeyError(symbol)


_POOLS: Final[list[descriptor_pool.DescriptorPool]] = []


def pool() -> descriptor_pool.DescriptorPool:
    """The private pool; the first call reads the descriptors (about 2 ms)."""
    if not _POOLS:
        data = Path(__file__).with_name("descriptors.binpb").read_bytes()
        files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        # Of threads that come here at once each makes one, and the first is everybody's: messages
        # of two pools do not go together. A lock might be held for ever in a forked child.
        _POOLS.append(descriptor_pool.DescriptorPool(_Files(files)))
    return _POOLS[0]


@functools.cache
def message(full_name: str) -> Any:
    """The class of a message, by its full name (`envoy.config.cluster.v3.Cluster`).

    Typed `Any` because its fields are known only when it runs. Raises UnknownMessageError.
    """
    try:
        found = pool().FindMessageTypeByName(full_name)
    except KeyError:
        raise UnknownMessageError(f"no message is named {full_name}") from None
    return message_factory.GetMessageClass(found)


def message_of(type_url: str) -> Any:
    """The class that a type URL names (what follows its last slash). Raises UnknownMessageError."""
    return message(type_url.rpartition("/")[2])


def type_url(of: Message) -> str:
    """`type.googleapis.com/` and the message's full name."""
    return TYPE_PREFIX + of.DESCRIPTOR.full_name


def serialize(value: Message) -> bytes:
    """The message's bytes; equal messages give equal bytes (maps are sorted)."""
    return value.SerializeToString(deterministic=True)


def version_of(body: bytes) -> str:
    """The version of a resource with this body: equal for equal bodies, after a restart too."""
    return hashlib.blake2b(body, digest_size=VERSION_BYTES).hexdigest()


def resource(name: str, value: Message) -> Resource:
    """Serializes a message, once for every node that will get it."""
    body = serialize(value)
    return Resource(name=name, version=version_of(body), body=body)


def pack(value: Message) -> Any:
    """A `google.protobuf.Any` of the private pool that holds the message."""
    return message("google.protobuf.Any")(type_url=type_url(value), value=serialize(value))


def unpack(packed: Any) -> Any:
    """The message inside an Any, by its type URL.

    Raises UnknownMessageError when we have no such message, ValueError when the bytes are not one.
    """
    try:
        return message_of(packed.type_url).FromString(packed.value)
    except DecodeError as exc:
        raise ValueError(f"not a {packed.type_url}: {exc}") from exc


def parse(type_url: str, body: bytes) -> Any:
    """The message of a resource's body. Raises as `unpack` does."""
    return unpack(message("google.protobuf.Any")(type_url=type_url, value=body))


def typed_struct(type_url: str, value: Mapping[str, Any]) -> Any:
    """A `udpa.type.v1.TypedStruct`: a message that the receiver knows by `type_url`, as JSON."""
    made = message("udpa.type.v1.TypedStruct")(type_url=type_url)
    made.value.update(value)
    return made


def to_json(value: Message, *, proto_names: bool = True) -> dict[str, Any]:
    """Protobuf JSON with every Any resolved (`@type`).

    `proto_names`: field names as in the .proto (`typed_config`), as Envoy's admin prints them; else
    the canonical lowerCamelCase. An Any whose message we do not have, which another control plane
    may send, becomes a TypedStruct with the bytes in base64.
    """
    try:
        return _print(value, proto_names)
    except (TypeError, DecodeError):  # what json_format raises for an Any it cannot resolve
        return _print(_resolvable(value), proto_names)


def any_to_json(type_url: str, body: bytes, *, proto_names: bool = True) -> dict[str, Any]:
    """The JSON of a resource, with its `@type`. Never raises for bytes that are not one."""
    packed = message("google.protobuf.Any")(type_url=type_url, value=body)
    return to_json(packed, proto_names=proto_names)


def from_json(full_name: str, value: Mapping[str, Any]) -> Any:
    """The message that protobuf JSON (either naming) describes.

    Raises ValueError with the field's path, UnknownMessageError.
    """
    made = message(full_name)()
    try:
        json_format.ParseDict(dict(value), made, descriptor_pool=pool())
    except json_format.ParseError as exc:
        reason = str(exc).partition("\n")[0]  # what follows lists every field there is
        raise ValueError(f"not a {full_name}: {reason}") from exc
    return made


def _print(value: Message, proto_names: bool) -> dict[str, Any]:
    printed: dict[str, Any] = json_format.MessageToDict(
        value, preserving_proto_field_name=proto_names, descriptor_pool=pool()
    )
    return printed


def _resolvable(value: Any) -> Any:
    """A copy in which every Any that cannot be resolved is a TypedStruct that can."""
    if value.DESCRIPTOR.full_name == "google.protobuf.Any":
        try:
            return pack(_resolvable(unpack(value)))
        except (UnknownMessageError, ValueError):
            encoded = base64.b64encode(value.value).decode("ascii")
            return pack(typed_struct(value.type_url, {"value": encoded}))
    copy = type(value)()
    copy.CopyFrom(value)
    for field, held in copy.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in held:
                    held[key].CopyFrom(_resolvable(held[key]))
        else:
            for element in held if field.is_repeated else (held,):
                element.CopyFrom(_resolvable(element))
    return copy

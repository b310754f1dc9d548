"""Hessian 2 values, as Dubbo's bodies hold them: `Writer` appends them, `Reader` takes them off.

| Java | Python |
| --- | --- |
| null, boolean, double | None, bool, float |
| int, long | int (written as an int where it fits in 32 bits; `Long` is always written as a long) |
| String, byte[] | str, bytes |
| Date | `Date`, milliseconds since 1970 |
| List, array; Map | list; dict (their Java types are left out) |
| any other object | `Instance`: its class and its fields |

The grammar: <http://hessian.caucho.com/doc/hessian-serialization.html>. A character outside of the
basic plane is two, of three bytes each, as Dubbo writes it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CHUNK = 0x8000  # characters of UTF-16 a piece, as hessian-lite cuts them
MAX_DEPTH = 100  # of containers in each other that are read
END = ord("Z")


class HessianError(ValueError):
    """The bytes are no Hessian 2; or the value has no form in it."""


class Long(int):
    """A Java long, however small."""


class Date(int):
    """Milliseconds since 1970-01-01T00:00Z."""


@dataclass(eq=False)
class Instance:
    """An object of a Java class: its name with dots, and its fields in order."""

    name: str
    fields: dict[str, object] = field(default_factory=dict)


class Writer:
    """Appends values to `out`; classes are defined once for each writer."""

    def __init__(self) -> None:
        self.out = bytearray()
        self._classes: dict[tuple[str, ...], int] = {}

    def write(self, value: object) -> Writer:
        """Appends one value. Raises HessianError for one of no known type."""
        if value is None or isinstance(value, bool):
            self.out += b"N" if value is None else b"T" if value else b"F"
        elif isinstance(value, Date):
            self.out += b"\x4a" + struct.pack(">q", value)
        elif isinstance(value, int):
            self._int(value)
        elif isinstance(value, float):
            self.out += b"D" + struct.pack(">d", value)
        elif isinstance(value, str):
            self._string(value)
        elif isinstance(value, bytes | bytearray):
            self._bytes(bytes(value))
        else:
            self._container(value)
        return self

    def _int(self, value: int) -> None:
        if isinstance(value, Long) or not -(2**31) <= value < 2**31:
            if not -(2**63) <= value < 2**63:
                raise HessianError(f"{value} is no Java long")
            self.out += b"L" + struct.pack(">q", value)
        elif -0x10 <= value <= 0x2F:
            self.out.append(0x90 + value)
        else:
            self.out += b"I" + struct.pack(">i", value)

    def _string(self, text: str) -> None:
        units = text.encode("utf-16-be", "surrogatepass")
        while len(units) > 2 * CHUNK:
            # A pair of surrogates stays in one chunk.
            cut = CHUNK - (0xD8 <= units[2 * CHUNK - 2] <= 0xDB)
            self.out += b"R" + struct.pack(">H", cut) + _java_characters(units[: 2 * cut])
            units = units[2 * cut :]
        length = len(units) // 2
        if length < 32:
            self.out.append(length)
        elif length < 1024:
            self.out += bytes([0x30 + (length >> 8), length & 0xFF])
        else:
            self.out += b"S" + struct.pack(">H", length)
        self.out += _java_characters(units)

    def _bytes(self, value: bytes) -> None:
        while len(value) > CHUNK:
            self.out += b"A" + struct.pack(">H", CHUNK) + value[:CHUNK]
            value = value[CHUNK:]
        if len(value) < 16:
            self.out.append(0x20 + len(value))
        else:
            self.out += b"B" + struct.pack(">H", len(value))
        self.out += value

    def _container(self, value: object) -> None:
        if isinstance(value, list | tuple):
            if len(value) < 8:
                self.out.append(0x78 + len(value))
            else:
                self.out.append(0x58)
                self._int(len(value))
            for item in value:
                self.write(item)
        elif isinstance(value, dict):
            self.out += b"H"
            for key, item in value.items():
                self.write(key).write(item)
            self.out.append(END)
        elif isinstance(value, Instance):
            self._instance(value)
        else:
            raise HessianError(f"a {type(value).__name__} has no form in Hessian")

    def _instance(self, value: Instance) -> None:
        shape = (value.name, *value.fields)
        if shape not in self._classes:
            self._classes[shape] = len(self._classes)
            self.out += b"C"
            self._string(value.name)
            self._int(len(value.fields))
            for name in value.fields:
                self._string(name)
        self.out += b"O"
        self._int(self._classes[shape])
        for item in value.fields.values():
            self.write(item)


class Reader:
    """Takes values off `data`, from `at` on. Its methods raise HessianError where none is there."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self._classes: list[tuple[str, list[str]]] = []
        self._seen: list[object] = []
        self._depth = 0

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.data)

    def read(self) -> object:
        """One value."""
        tag = self._byte()
        if tag == ord("C"):
            self._class()
            return self.read()
        for read in (_read_simple, _read_number, _read_text):
            found = read(self, tag)
            if found is not _OTHER:
                return found
        if self._depth == MAX_DEPTH:
            raise HessianError(f"values nested deeper than {MAX_DEPTH}")
        self._depth += 1
        found = _read_container(self, tag)
        self._depth -= 1
        if found is _OTHER:
            raise HessianError(f"no value starts with {tag:#04x}, at byte {self.at - 1}")
        return found

    def text(self) -> str | None:
        """A string or null; anything else is an error."""
        value = self.read()
        if value is None or isinstance(value, str):
            return value
        raise HessianError(f"a {type(value).__name__}, where a string is due")

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise HessianError("a value goes beyond its end")
        self.at += count
        return taken

    def seen(self, value: object) -> object:
        """Numbers a container, so that a later reference finds it."""
        self._seen.append(value)
        return value

    def reference(self) -> object:
        number = self.number()
        if not 0 <= number < len(self._seen):
            raise HessianError(f"a reference to value {number}, of {len(self._seen)}")
        return self._seen[number]

    def number(self) -> int:
        value = self.read()
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise HessianError("no number, where one is due")

    def kind(self) -> None:
        """Passes over the name of a Java type, or its number."""
        self.read()

    def ends(self) -> bool:
        if self.at_end:
            raise HessianError("a container without its end")
        if self.data[self.at] != END:
            return False
        self.at += 1
        return True

    def instance(self, number: int) -> object:
        if not 0 <= number < len(self._classes):
            raise HessianError(f"an object of class {number}, of {len(self._classes)}")
        name, names = self._classes[number]
        made = Instance(name)
        self.seen(made)
        for field_name in names:
            made.fields[field_name] = self.read()
        return made

    def _byte(self) -> int:
        return self.take(1)[0]

    def _class(self) -> None:
        name = self.text() or ""
        names = [self.text() or "" for _ in range(self.number())]
        self._classes.append((name, names))

    def characters(self, count: int) -> str:
        """`count` characters of UTF-16, each in one to three bytes."""
        start = self.at
        if self.data[start : start + count].isascii():
            return self.take(count).decode()
        for _ in range(count):
            first = self._byte()
            self.take(0 if first < 0x80 else 1 if first < 0xE0 else 2)
        try:
            text = self.data[start : self.at].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise HessianError("characters that are none") from error
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_OTHER = object()


def _read_simple(reader: Reader, tag: int) -> object:
    match tag:
        case 0x4E:  # N
            return None
        case 0x54 | 0x46:  # T, F
            return tag == 0x54
        case 0x51:  # Q
            return reader.reference()
        case 0x4A:
            return Date(_unpack(">q", reader))
        case 0x4B:
            return Date(_unpack(">i", reader) * 60_000)
    return _OTHER


def _read_number(reader: Reader, tag: int) -> object:
    match tag:
        case _ if 0x80 <= tag <= 0xBF:
            return tag - 0x90
        case _ if 0xC0 <= tag <= 0xCF:
            return ((tag - 0xC8) << 8) + _unpack(">B", reader)
        case _ if 0xD0 <= tag <= 0xD7:
            return ((tag - 0xD4) << 16) + _unpack(">H", reader)
        case _ if 0xD8 <= tag <= 0xEF:
            return tag - 0xE0
        case _ if tag >= 0xF0:
            return ((tag - 0xF8) << 8) + _unpack(">B", reader)
        case _ if 0x38 <= tag <= 0x3F:
            return ((tag - 0x3C) << 16) + _unpack(">H", reader)
        case 0x49 | 0x59:
            return _unpack(">i", reader)
        case 0x4C:  # L
            return _unpack(">q", reader)
        case 0x5B | 0x5C:
            return float(tag - 0x5B)
        case 0x5D:
            return float(_unpack(">b", reader))
        case 0x5E:
            return float(_unpack(">h", reader))
        case 0x5F:
            return _unpack(">i", reader) * 0.001
        case 0x44:  # D
            return struct.unpack(">d", reader.take(8))[0]
    return _OTHER


def _read_text(reader: Reader, tag: int) -> object:
    match tag:
        case _ if tag <= 0x1F:
            return reader.characters(tag)
        case _ if 0x30 <= tag <= 0x33:
            return reader.characters(((tag - 0x30) << 8) + _unpack(">B", reader))
        case 0x53:  # S
            return reader.characters(_unpack(">H", reader))
        case 0x52:  # R: more chunks follow
            return reader.characters(_unpack(">H", reader)) + (reader.text() or "")
        case _ if 0x20 <= tag <= 0x2F:
            return reader.take(tag - 0x20)
        case _ if 0x34 <= tag <= 0x37:
            return reader.take(((tag - 0x34) << 8) + _unpack(">B", reader))
        case 0x42:  # B
            return reader.take(_unpack(">H", reader))
        case 0x41:  # A: more chunks follow
            chunk = reader.take(_unpack(">H", reader))
            rest = reader.read()
            return chunk + (rest if isinstance(rest, bytes) else b"")
    return _OTHER


def _read_container(reader: Reader, tag: int) -> object:
    match tag:
        case 0x48 | 0x4D:  # H; M: of a type
            if tag == 0x4D:
                reader.kind()
            return _pairs(reader)
        case 0x55 | 0x57:
            if tag == 0x55:
                reader.kind()
            return _items(reader, None)
        case 0x56 | 0x58:
            if tag == 0x56:
                reader.kind()
            return _items(reader, reader.number())
        case _ if 0x70 <= tag <= 0x77:
            reader.kind()
            return _items(reader, tag - 0x70)
        case _ if 0x78 <= tag <= 0x7F:
            return _items(reader, tag - 0x78)
        case _ if 0x60 <= tag <= 0x6F:
            return reader.instance(tag - 0x60)
        case 0x4F:  # O
            return reader.instance(reader.number())
    return _OTHER


def _pairs(reader: Reader) -> dict[object, object]:
    found: dict[object, object] = {}
    reader.seen(found)
    while not reader.ends():
        key = reader.read()
        # A list or map as a key cannot be one here: it is named by what it shows.
        found[repr(key) if isinstance(key, list | dict) else key] = reader.read()
    return found


def _items(reader: Reader, count: int | None) -> list[object]:
    found: list[object] = []
    reader.seen(found)
    while not reader.ends() if count is None else len(found) < count:
        found.append(reader.read())
    return found


def _unpack(form: str, reader: Reader) -> int:
    (value,) = struct.unpack(form, reader.take(struct.calcsize(form)))
    assert isinstance(value, int)
    return value


def _java_characters(units: bytes) -> bytes:
    """The bytes of characters given in UTF-16: each of a pair of surrogates has three."""
    try:
        text = units.decode("utf-16-be")
        if text.isascii():
            return text.encode()
    except UnicodeDecodeError:
        pass
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return b"".join(chr(unit).encode("utf-8", "surrogatepass") for unit in pairs)

"""Random hessian2 values in every form that the grammar has, shortest or not.

The grammar: http://hessian.caucho.com/doc/hessian-serialization.html. Each function gives the bytes
of one value; what a value ends with is known by construction."""

from __future__ import annotations

import random
import struct

DEEPEST = 5
CHARACTERS = "aZRS0\x00\x7f\x80é߿ࠀ你￿"


class Writer:
    """The values of one body: they share the classes and the types that they define."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._types = 0
        self._fields: list[int] = []
        self._containers = 0

    def value(self, depth: int = 0) -> bytes:
        plain = [self.number, self.double, self.date, self.constant, self.string, self.binary]
        nested = [self.sequence, self.mapping, self.instance, self.reference]
        return self._chance.choice(plain if depth >= DEEPEST else plain + nested + nested)(depth)

    def constant(self, depth: int = 0) -> bytes:
        return self._chance.choice([b"N", b"T", b"F"])

    def whole(self, value: int | None = None) -> bytes:
        """An int, in one of the forms that hold it."""
        bits = self._chance.randrange(32)
        number = value if value is not None else self._chance.getrandbits(bits + 1) - (1 << bits)
        forms = [b"I" + struct.pack(">i", number)]
        if -16 <= number <= 47:
            forms.append(bytes([number + 0x90]))
        if -2048 <= number <= 2047:
            forms.append(bytes([(number >> 8) + 0xC8, number & 0xFF]))
        if -262_144 <= number <= 262_143:
            forms.append(bytes([(number >> 16) + 0xD4]) + struct.pack(">H", number & 0xFFFF))
        return self._chance.choice(forms)

    def number(self, depth: int = 0) -> bytes:
        random_bytes = self._chance.randbytes
        long = [
            b"L" + random_bytes(8),
            b"Y" + random_bytes(4),
            bytes([self._chance.randint(0xD8, 0xEF)]),
            bytes([self._chance.randint(0xF0, 0xFF)]) + random_bytes(1),
            bytes([self._chance.randint(0x38, 0x3F)]) + random_bytes(2),
        ]
        return self._chance.choice([self.whole(), *long])

    def double(self, depth: int = 0) -> bytes:
        forms = [(0x5B, 0), (0x5C, 0), (0x5D, 1), (0x5E, 2), (0x5F, 4), (ord("D"), 8)]
        tag, size = self._chance.choice(forms)
        return bytes([tag]) + self._chance.randbytes(size)

    def date(self, depth: int = 0) -> bytes:
        tag, size = self._chance.choice([(0x4A, 8), (0x4B, 4)])
        return bytes([tag]) + self._chance.randbytes(size)

    def string(self, depth: int = 0) -> bytes:
        """In chunks or in one piece; characters of one, two and three bytes."""
        pieces = [self._characters(b"R", b"R") for _ in range(self._chance.choice([0, 0, 0, 1, 3]))]
        return b"".join(pieces) + self._characters(b"S", b"")

    def _characters(self, long: bytes, only: bytes) -> bytes:
        length = self._chance.choice([0, 1, 31, 32, 255, 256, self._chance.randrange(1024), 2000])
        body = "".join(self._chance.choices(CHARACTERS, k=length)).encode()
        forms = [long + struct.pack(">H", length)]
        if not only and length < 32:
            forms.append(bytes([length]))
        if not only and length < 1024:
            forms.append(bytes([0x30 + (length >> 8), length & 0xFF]))
        return self._chance.choice(forms) + body

    def name(self) -> bytes:
        word = "".join(self._chance.choices("abc.", k=self._chance.randrange(40)))
        head = [len(word)] if len(word) < 32 else [0x30, len(word)]
        return bytes(head) + word.encode()

    def binary(self, depth: int = 0) -> bytes:
        pieces = b""
        for _ in range(self._chance.choice([0, 0, 0, 1, 3])):
            length = self._chance.randrange(3000)
            pieces += b"A" + struct.pack(">H", length) + self._chance.randbytes(length)
        length = self._chance.choice([0, 15, 16, self._chance.randrange(1024), 5000])
        forms = [b"B" + struct.pack(">H", length)]
        if length < 16:
            forms.append(bytes([0x20 + length]))
        if length < 1024:
            forms.append(bytes([0x34 + (length >> 8), length & 0xFF]))
        return pieces + self._chance.choice(forms) + self._chance.randbytes(length)

    def _type(self) -> bytes:
        """A name, or the number of one that was given before."""
        if self._types and self._chance.random() < 0.5:
            return self.whole(self._chance.randrange(self._types))
        self._types += 1
        return self.name()

    def sequence(self, depth: int = 0) -> bytes:
        length = self._chance.choice([0, 1, 7, 8, 40 if depth == 0 else 2])
        forms = ["U", "V", "W", "X"] + (["typed", "untyped"] if length < 8 else [])
        form = self._chance.choice(forms)
        self._containers += 1
        if form == "typed":
            head = bytes([0x70 + length]) + self._type()
        elif form == "untyped":
            head = bytes([0x78 + length])
        else:
            kind = self._type() if form in "UV" else b""
            count = self.whole(length) if form in "VX" else b""
            head = form.encode() + kind + count
        members = b"".join(self.value(depth + 1) for _ in range(length))
        return head + members + (b"Z" if form in "UW" else b"")

    def mapping(self, depth: int = 0) -> bytes:
        self._containers += 1
        head = b"H" if self._chance.random() < 0.5 else b"M" + self._type()
        count = 2 * self._chance.choice([0, 1, 2, 5])
        return head + b"".join(self.value(depth + 1) for _ in range(count)) + b"Z"

    def instance(self, depth: int = 0) -> bytes:
        """With the definition of its class before it, or of one that was defined before."""
        defined = b""
        if not self._fields or self._chance.random() < 0.5:
            fields = self._chance.choice([0, 1, 3, 9])
            names = b"".join(self.name() for _ in range(fields))
            defined = b"C" + self.name() + self.whole(fields) + names
            self._fields.append(fields)
        which = len(self._fields) - 1 if defined else self._chance.randrange(len(self._fields))
        self._containers += 1
        short = which < 16 and self._chance.random() < 0.5
        head = bytes([0x60 + which]) if short else b"O" + self.whole(which)
        values = b"".join(self.value(depth + 1) for _ in range(self._fields[which]))
        return defined + head + values

    def reference(self, depth: int = 0) -> bytes:
        if not self._containers:
            return b"N"
        return b"Q" + self.whole(self._chance.randrange(self._containers))

"""How a Thrift connection writes its messages, and what is wrong with those that cannot be read.

Leaf of the package: names only. What a call carries is written by `frames`, and read by it."""

import enum
from typing import Final

# Largest frame that is read: Kitex's, whose length has two bits of its own.
MAX_FRAME_BYTES: Final = 0x3FFFFFFF


class Wire(enum.Enum):
    """What stands around a message; the words are those of the sidecar's log."""

    TTHEADER = "ttheader"
    TTHEADER_FRAMED = "ttheaderframed"
    THEADER = "theader"
    FRAMED = "framed"
    UNFRAMED = "unframed"

    @property
    def has_metadata(self) -> bool:
        """Whether messages carry names and values beside their arguments."""
        return self in (Wire.TTHEADER, Wire.TTHEADER_FRAMED, Wire.THEADER)


class WireError(Exception):
    """Bytes of a peer that are no message. The text says what, and where in the frame (bytes)."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason if at is None else f"{reason}, at byte {at}")

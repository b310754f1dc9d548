"""`ApplicationProtocol` of metaprotocol.aeraki.io: which codec reads a protocol."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meltemi.config.schema.types import Schema

Name = Annotated[str, Field(min_length=1)]


class ApplicationProtocolSpec(Schema):
    protocol: Name
    codec: Name

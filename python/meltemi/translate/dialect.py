"""What a client understands: the clients of one dialect get the same resources."""

from __future__ import annotations

import enum

from meltemi.xds.resource import Client


class Dialect(enum.Enum):
    """Of clusters, endpoints and routes."""

    ENGINE = enum.auto()
    """Ours: MetaProtocol filters, refusals with a reason, options of its own."""
    ENVOY = enum.auto()
    """Stock Envoy: no MetaProtocol filter, but its own Thrift proxy."""
    GRPC = enum.auto()
    KITEX = enum.auto()

    @property
    def is_engine(self) -> bool:
        return self is Dialect.ENGINE

    @classmethod
    def of(cls, client: Client) -> Dialect:
        match client:
            case Client.SIDECAR | Client.SDK:
                return cls.ENGINE
            case Client.ENVOY:
                return cls.ENVOY
            case Client.GRPC:
                return cls.GRPC
            case Client.KITEX:
                return cls.KITEX

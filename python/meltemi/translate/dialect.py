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
    SDK = enum.auto()
    """Ours without a sidecar: the engine's clusters, and listeners by name."""
    GRPC = enum.auto()
    """gRPC's own client: what it lacks is left out, since it refuses what it does not know."""
    KITEX = enum.auto()
    """Kitex: it reads what it does not know as no condition at all, so it gets nothing of that."""

    @property
    def is_engine(self) -> bool:
        return self in (Dialect.ENGINE, Dialect.SDK)

    @property
    def asks_by_name(self) -> bool:
        """Whether its listeners are asked for by the names of services, and name http routes."""
        return self in (Dialect.SDK, Dialect.GRPC)

    @property
    def takes_http_rules(self) -> bool:
        """Whether VirtualServices are for it."""
        return self.asks_by_name or self is Dialect.KITEX

    @classmethod
    def of(cls, client: Client) -> Dialect:
        match client:
            case Client.SIDECAR:
                return cls.ENGINE
            case Client.SDK:
                return cls.SDK
            case Client.ENVOY:
                return cls.ENVOY
            case Client.GRPC:
                return cls.GRPC
            case Client.KITEX:
                return cls.KITEX

"""Rows of calls without a sidecar; `table` has them all."""

from __future__ import annotations

from typing import Final

from runner.rows import AnyRow, MeasuredRow, at_most

CLIENTS: Final[tuple[AnyRow, ...]] = (
    MeasuredRow(
        "G18",
        "a call without a sidecar against bare thriftpy2, one core: CPU of client and server",
        "calls without a sidecar",
        "bare cpu",
        "us",
        at_most(1.08),
    ),
    MeasuredRow(
        "G18 time",
        "the same: median time of a call",
        "calls without a sidecar",
        "bare p50",
        "us",
        at_most(1.08),
    ),
    MeasuredRow(
        "G18 traced",
        "the same, each call with a trace and baggage of its own: CPU of client and server",
        "calls without a sidecar",
        "traced cpu",
        "us",
        None,
    ),
    MeasuredRow(
        "G18 choice",
        "choosing the endpoint of a call, and noting how it ended",
        "calls without a sidecar",
        "choice",
        "us",
        None,
    ),
    MeasuredRow(
        "G24",
        "a call without a sidecar against through ours, one core: CPU of all processes",
        "calls without a sidecar",
        "sidecar cpu",
        "us",
        at_most(1.0),
    ),
    MeasuredRow(
        "G24 time",
        "the same: median time of a call",
        "calls without a sidecar",
        "sidecar p50",
        "us",
        at_most(1.0),
    ),
    MeasuredRow(
        "G24 Envoy",
        "a call without a sidecar against through thrift_proxy, one core: CPU of all processes",
        "calls without a sidecar",
        "envoy cpu",
        "us",
        at_most(1.0),
    ),
    MeasuredRow(
        "G24 Envoy time",
        "the same: median time of a call",
        "calls without a sidecar",
        "envoy p50",
        "us",
        at_most(1.0),
    ),
    MeasuredRow(
        "G25",
        "round trips to the control plane before the first call after a cold start",
        "first call",
        "trips",
        "trips",
        at_most(3, "trips"),
    ),
    MeasuredRow(
        "G26",
        "memory of a client without a sidecar over bare grpcio, 1,000 services, one called",
        "memory of a client",
        "over",
        "MB",
        at_most(25, "MB"),
    ),
    MeasuredRow(
        "G27 middleware",
        "a Starlette request under uvicorn, coloured by the middleware, against bare: CPU",
        "colouring in a middleware",
        "cpu",
        "us",
        at_most(1.05),
    ),
)

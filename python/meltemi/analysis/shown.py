"""A document that stands for something else, for `kubectl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ISTIO = "networking.istio.io/v1"


@dataclass(frozen=True, slots=True)
class Shown:
    """One document, and what it cannot say."""

    document: dict[str, Any]
    comments: tuple[str, ...] = ()


def document(
    api_version: str, kind: str, namespace: str, name: str, spec: dict[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }

"""Labels of the Pods that documents speak of, which a mesh of Kubernetes runs and ours does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meltemi.config import Source
from meltemi.config.documents import parse

_TEMPLATES: Final = frozenset(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"))

Labels = Mapping[str, str]


def pods(sources: Iterable[Source], namespace: str) -> list[tuple[str, Labels]]:
    """Namespace and labels of each Pod and each template of Pods."""
    found: list[tuple[str, Labels]] = []
    for source in sources:
        documents, _ = parse(source.file, source.content)
        for document in documents:
            if isinstance(document.value, dict):
                metadata = _pod(document.value)
                labels = metadata.get("labels")
                if isinstance(labels, dict) and labels:
                    where = _mapping(document.value, "metadata").get("namespace") or namespace
                    found.append((str(where), {str(k): str(v) for k, v in labels.items()}))
    return found


def _pod(value: dict[Any, Any]) -> dict[Any, Any]:
    """The metadata of the Pod that the object is, or makes."""
    if value.get("kind") == "Pod":
        return _mapping(value, "metadata")
    if value.get("kind") in _TEMPLATES:
        return _mapping(_mapping(_mapping(value, "spec"), "template"), "metadata")
    return {}


def _mapping(value: dict[Any, Any], key: str) -> dict[Any, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}

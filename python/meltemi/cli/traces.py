"""How commands say where the traces of a mesh go."""

from __future__ import annotations

from typing import Any


def traces_go_to(processes: dict[str, Any]) -> str:
    """By the process table: the receiver's address, the user's collector, or nowhere."""
    said = processes.get("traces") or {}
    return str(said.get("receiver") or said.get("collector") or "nowhere")

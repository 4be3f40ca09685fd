"""What an AI coding assistant should know of RoomKit, for its context window."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["get_agents_md", "get_ai_context", "get_llms_txt"]


def get_llms_txt() -> str:
    """Return `llms.txt`: what RoomKit is and where its documentation is."""
    return _read("llms.txt")


def get_agents_md() -> str:
    """Return `AGENTS.md`: how code that uses RoomKit is written."""
    return _read("AGENTS.md")


def get_ai_context() -> str:
    """Return both as one text."""
    return f"{get_llms_txt()}\n---\n\n{get_agents_md()}"


def _read(name: str) -> str:
    return files("roomkit.ai_docs").joinpath(name).read_text(encoding="utf-8")

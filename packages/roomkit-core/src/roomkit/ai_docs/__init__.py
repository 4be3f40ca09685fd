"""What an AI coding assistant should know of RoomKit, for its context window."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["get_agents_md", "get_ai_context", "get_llms_txt"]


def get_llms_txt() -> str:
    """Return `llms.txt`: what RoomKit is, where its documentation is, and which plugins are installed here.

    Each plugin has its version, and those of RoomKit the names and components that they bring.
    """
    from roomkit.ai_docs.installed import installed_section

    return f"{_read('llms.txt')}\n{installed_section()}"


def get_agents_md() -> str:
    """Return `AGENTS.md`: how code that uses RoomKit is written."""
    return _read("AGENTS.md")


def get_ai_context() -> str:
    """Return both as one text."""
    return f"{get_llms_txt()}\n---\n\n{get_agents_md()}"


def _read(name: str) -> str:
    return files("roomkit.ai_docs").joinpath(name).read_text(encoding="utf-8")

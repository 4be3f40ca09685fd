"""The part of an agent's instructions that says who it is."""

from __future__ import annotations

__all__ = ["identity_block"]


def identity_block(
    role: str | None, description: str | None, scope: str | None, language: str | None
) -> str | None:
    """Return the block for the system prompt, None if there is nothing to say."""
    lines = [
        f"{name}: {text}"
        for name, text in (("Role", role), ("Description", description), ("Scope", scope))
        if text
    ]
    if language:
        lines.append(f"Language: always respond in {language}, whatever language you are addressed in.")
    return "\n".join(["--- Agent Identity ---", *lines]) if lines else None

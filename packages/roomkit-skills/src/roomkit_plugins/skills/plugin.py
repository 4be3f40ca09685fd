"""Registers what `roomkit-skills` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the registry of skills."""
    registry.add(
        "tools",
        "skills",
        "roomkit_plugins.skills:SkillRegistry",
        config="roomkit_plugins.skills:SkillsConfig",
        summary="Skills of folders, which an agent activates when it needs them.",
    )

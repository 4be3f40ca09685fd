"""Registers what `roomkit-rcs` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the channel."""
    registry.add(
        "channel",
        "rcs",
        "roomkit_plugins.rcs:RCSChannel",
        config="roomkit_plugins.rcs:RCSChannelConfig",
        summary="RCS: text, files, cards and suggestions.",
        parts={"provider": "rcs", "providers": ["rcs"]},
    )

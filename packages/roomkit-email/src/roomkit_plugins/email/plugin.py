"""Registers what `roomkit-email` brings; imports nothing but the core."""

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
        "email",
        "roomkit_plugins.email:EmailChannel",
        config="roomkit_plugins.email:EmailChannelConfig",
        summary="E-mail, by one provider or several.",
        parts={"provider": "email", "providers": ["email"]},
    )

"""Registers what `roomkit-anthropic` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""

"""Registers what `roomkit-media` brings; imports nothing but the core."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "media",
        "disk",
        "roomkit_plugins.media:DiskMediaStore",
        config="roomkit_plugins.media:DiskMediaConfig",
        summary="Files in a folder.",
    )
    registry.add(
        "fetch",
        "pinned",
        "roomkit_plugins.media:PinnedFetch",
        config="roomkit_plugins.media:FetchConfig",
        summary="Fetches URLs from outside: public addresses only, pinned, with limits.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there."""
    if find_spec("httpx2") is None:
        report.fail("media", "httpx2 is not installed", next_step="pip install roomkit-media")
    else:
        report.ok("media", "httpx2 is installed")

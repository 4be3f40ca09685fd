"""Registers what `roomkit-mcp` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the tool provider."""
    registry.add(
        "tools",
        "mcp",
        "roomkit_plugins.mcp:MCPToolProvider",
        config="roomkit_plugins.mcp:MCPConfig",
        summary="The tools of an MCP server, over HTTP or of a process.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there."""
    report.expect_module("mcp", "mcp", distribution="roomkit-mcp")

"""Registers what `roomkit-pydantic-ai` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "ai",
        "pydantic-ai",
        "roomkit_plugins.pydantic_ai:PydanticAIProvider",
        config="roomkit_plugins.pydantic_ai:PydanticAIConfig",
        summary="Any model that Pydantic AI knows, or a Pydantic AI agent.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there; which key it needs depends on the model."""
    report.expect_module("pydantic-ai", "pydantic_ai", distribution="roomkit-pydantic-ai")

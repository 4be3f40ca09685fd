"""Registers what `roomkit-teams` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the channel and the providers."""
    registry.add(
        "channel",
        "teams",
        "roomkit_plugins.teams:TeamsChannel",
        config="roomkit_plugins.teams:TeamsChannelConfig",
        summary="Microsoft Teams, by a bot.",
        parts={"provider": "teams", "providers": ["teams"]},
    )
    registry.add(
        "teams",
        "agents",
        "roomkit_plugins.teams:AgentsTeamsProvider",
        config="roomkit_plugins.teams:TeamsConfig",
        summary="A bot of Microsoft Teams, by the Agents SDK.",
    )
    registry.add(
        "teams",
        "botframework",
        "roomkit_plugins.teams:BotFrameworkTeamsProvider",
        config="roomkit_plugins.teams:TeamsConfig",
        summary="A bot of Microsoft Teams, by the Bot Framework SDK.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there and that a secret is."""
    report.expect_module("teams", "jwt", distribution="roomkit-teams")
    report.expect_variable(
        "teams",
        "TEAMS_APP_PASSWORD",
        next_step="set TEAMS_APP_PASSWORD, or give TeamsConfig app_password, a certificate or token_provider",
    )

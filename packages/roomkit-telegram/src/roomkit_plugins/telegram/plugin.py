"""Registers what `roomkit-telegram` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    package = "roomkit_plugins.telegram"
    registry.add(
        "channel",
        "telegram",
        f"{package}:TelegramChannel",
        config=f"{package}:TelegramChannelConfig",
        summary="Telegram chats, by a bot.",
        parts={"provider": "telegram", "providers": ["telegram"]},
    )
    registry.add(
        "telegram",
        "bot",
        f"{package}:TelegramBotProvider",
        config=f"{package}:TelegramConfig",
        summary="Telegram's Bot API.",
    )
    registry.add(
        "source",
        "telegram",
        f"{package}:TelegramSource",
        config=f"{package}:TelegramSourceConfig",
        summary="Telegram's updates by long polling.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there and that a token is."""
    report.expect_module("telegram", "telegram", distribution="roomkit-telegram")
    report.expect_variable(
        "telegram", "TELEGRAM_BOT_TOKEN", next_step="set TELEGRAM_BOT_TOKEN, or give TelegramConfig bot_token"
    )

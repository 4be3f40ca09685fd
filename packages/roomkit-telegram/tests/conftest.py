"""Telegram's simulator, and settings of its bot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import pytest
from telegram import Bot, Update

from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.telegram import TelegramConfig
from roomkit_plugins.testing.simulators import TelegramSimulator


class CheckedTelegram(TelegramSimulator):
    """The simulator, each of whose updates the vendor's library has to read: as the kind that it is."""

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        check_update(body)
        return super().signed(body, at)


def check_update(body: bytes) -> None:
    """Assert that python-telegram-bot reads a body that is an update."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(payload, dict) or "update_id" not in payload or len(payload) < 2:
        return
    update = Update.de_json(payload, _bot())
    (kind,) = set(payload) - {"update_id"}
    assert getattr(update, kind) is not None


@cache
def _bot() -> Bot:
    return Bot("123456:abcdef")


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramSimulator]:
    """Return the vendor, running; person 123456789 has started the bot."""
    async with CheckedTelegram() as simulator:
        simulator.person("Ann", 123456789, username="ann")
        yield simulator


@pytest.fixture
def configure(telegram: TelegramSimulator) -> Callable[..., TelegramConfig]:
    """Return a function that makes the settings of the simulator's bot."""

    def make(**fields: Any) -> TelegramConfig:
        given = {
            "bot_token": telegram.bot_token,
            "webhook_secret": telegram.webhook_secret,
            "base_url": telegram.origin,
        }
        return TelegramConfig(**{**given, **fields})

    return make

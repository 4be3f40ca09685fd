"""Reading callbacks without a kit: the parts of an MMS are joined in this process alone, and in memory.

`kit.process_webhook` joins them durably and on any worker; this is for programs that parse by themselves.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from roomkit.abc.errors import InvalidInputError
from roomkit.models.delivery import InboundMessage
from roomkit_plugins.voicemeup.wire import MMSPart, message_of, read_part

__all__ = ["configure_voicemeup_mms", "parse_voicemeup_webhook"]

_MOST_WAITING = 10_000

type OnTimeout = Callable[[InboundMessage], object]


@dataclass(slots=True)
class _Settings:
    timeout: float = 5.0
    on_timeout: OnTimeout | None = None
    waiting: dict[tuple[str, ...], tuple[MMSPart, asyncio.TimerHandle]] = field(default_factory=dict)


_settings = _Settings()


def configure_voicemeup_mms(timeout_seconds: float = 5.0, on_timeout: OnTimeout | None = None) -> None:
    """Have `parse_voicemeup_webhook` join the two parts of an MMS, in this process.

    A part waits `timeout_seconds` for the other. Then `on_timeout` is called with a message of that part
    alone; it is a plain function, which starts what takes long: `lambda message: kit.spawn(take(message))`.
    Without `on_timeout` nothing is joined, so that nothing is lost: each part is a message. Raises
    InvalidInputError.
    """
    if timeout_seconds <= 0:
        raise InvalidInputError(f"timeout_seconds is {timeout_seconds}: give more than 0")
    if inspect.iscoroutinefunction(on_timeout):
        raise InvalidInputError(
            "on_timeout is a coroutine function, which no task would run: give a function that starts one, "
            "such as lambda message: kit.spawn(take(message))"
        )
    _settings.timeout, _settings.on_timeout = timeout_seconds, on_timeout


def parse_voicemeup_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage | None:
    """Return the message in the payload of a callback that the caller has verified; None while a part waits.

    See `configure_voicemeup_mms`, which begins that; a loop has to run then. Raises InvalidInputError, which
    is a ValueError, for anything but a message that came in, and when 10,000 parts wait.
    """
    part = read_part(payload, channel_id)
    if not isinstance(part, MMSPart):
        raise InvalidInputError("the callback is no message that came in: hand it to process_webhook")
    if _settings.on_timeout is None or not part.is_of_several:
        return message_of([part], channel_id)
    key = (channel_id, *part.group)
    other = _settings.waiting.get(key)
    if other is None or other[0].is_page == part.is_page:
        _wait(key, part, channel_id, other)
        return None
    other[1].cancel()
    del _settings.waiting[key]
    return message_of([part, other[0]], channel_id)


def _wait(
    key: tuple[str, ...], part: MMSPart, channel_id: str, other: tuple[MMSPart, asyncio.TimerHandle] | None
) -> None:
    """Have a part wait; one of the same kind that waits is handed over first."""
    if other is not None:
        other[1].cancel()
        if other[0].id != part.id:  # else it is the same, sent again
            _time_out(key, other[0], channel_id)
    if len(_settings.waiting) >= _MOST_WAITING:
        raise InvalidInputError(
            f"{_MOST_WAITING} parts of MMS wait for others: shorten timeout_seconds, or use process_webhook"
        )
    handle = asyncio.get_running_loop().call_later(
        _settings.timeout, partial(_time_out, key, part, channel_id)
    )
    _settings.waiting[key] = (part, handle)


def _time_out(key: tuple[str, ...], part: MMSPart, channel_id: str) -> None:
    _settings.waiting.pop(key, None)
    if _settings.on_timeout is not None:
        _settings.on_timeout(message_of([part], channel_id))

"""Retries and fallbacks of a failed request, as long as nothing of its answer was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit.authoring.retry import pause_before
from roomkit.models.ai import AIImagePart, AIMessage, AIThinkingPart, AIToolCallPart
from roomkit.models.base import EMPTY
from roomkit_plugins.ai.overflow import shortened
from roomkit_plugins.ai.shape import parts_in

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.models.ai import AIPart
    from roomkit_plugins.ai.turn import Turn

__all__ = ["Recovery"]

logger = get_logger("roomkit.ai")

BROKEN_OFF = "[Your answer broke off here. Go on from exactly this place, and repeat nothing of it.]"
"""Asks a model to go on with an answer that another one began."""


class Recovery:
    """The second chances of one round.

    In this order: a request too long for the model is shortened, once a turn; one that may have been
    refused for a picture is asked again without those of older messages; a retryable failure is
    tried again as the retry policy says; what another provider may do better goes to the next fallback
    provider, once, and the turn stays there. Everything else is raised, and so is the first error
    when the fallbacks fail too.
    """

    __slots__ = ("_first", "_retries", "_turn")

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._retries = 0
        self._first: ProviderError | None = None

    async def recover(self, error: ProviderError) -> None:
        """Prepare the turn for another try. Raises when there is none."""
        if (
            self._shorten(error)
            or self._leave_pictures(error)
            or await self._wait(error)
            or self._fall_back(error)
        ):
            return
        if self._first is None:
            raise error
        self._note(error)
        raise self._first from error

    def take_over(self, error: ProviderError, said: str) -> bool:
        """Have a fallback go on after the text `said`, where a stream broke off; False without one."""
        if not self._fall_back(error):
            return False
        if said.strip():
            self._turn.add(
                AIMessage(role="assistant", content=said), AIMessage(role="user", content=BROKEN_OFF)
            )
        return True

    def _shorten(self, error: ProviderError) -> bool:
        turn = self._turn
        if error.error_code is not ErrorCode.CONTEXT_OVERFLOW or turn.compacted:
            return False
        turn.compacted = True
        result = shortened(turn.earlier, turn.own)
        if result is None:
            return False
        logger.warning("a request was too long for %s and is shortened", turn.provider.name)
        turn.retell(*result)
        return True

    def _leave_pictures(self, error: ProviderError) -> bool:
        turn = self._turn
        if not _may_refuse_a_picture(error) or not _has_pictures(turn.earlier):
            return False
        logger.warning(
            "%s refused a request with older pictures: it is asked without them", turn.provider.name
        )
        turn.retell(_portable(turn.earlier, vision=False, foreign=False), turn.own)
        return True

    async def _wait(self, error: ProviderError) -> bool:
        turn, policy = self._turn, self._turn.retry
        if policy is None or self._first or not error.retryable or self._retries >= policy.max_retries:
            return False
        delay = pause_before(self._retries, policy, error)
        remaining = turn.stop.remaining
        if remaining is not None and delay >= remaining:
            return False
        self._retries += 1
        with turn.stop:
            await asyncio.sleep(delay)
        return True

    def _fall_back(self, error: ProviderError) -> bool:
        turn = self._turn
        fallback = next((one for one in turn.fallbacks if self._may_help(error, one)), None)
        if fallback is None:
            return False
        logger.warning("%s failed (%s): %s goes on", turn.provider.name, error.error_code, fallback.name)
        if self._first is None:
            self._first = error
        else:
            self._note(error)
        turn.provider = fallback
        turn.fallbacks = [one for one in turn.fallbacks if one is not fallback]
        vision = fallback.supports_vision
        turn.retell(_portable(turn.earlier, vision=vision), _portable(turn.own, vision=vision))
        return True

    def _may_help(self, error: ProviderError, fallback: AIProvider) -> bool:
        if self._turn.request.response_schema and not fallback.supports_response_schema:
            return False
        return _worth_another_provider(error, fallback)

    def _note(self, error: ProviderError) -> None:
        assert self._first is not None
        self._first.add_note(f"the fallback {self._turn.provider.name} failed too: {error.error_code}")


def _worth_another_provider(error: ProviderError, other: AIProvider) -> bool:
    code = error.error_code
    if code is ErrorCode.UNSUPPORTED_CONTENT:
        return other.supports_vision
    return error.retryable or code.blames_provider or code is ErrorCode.NOT_FOUND


def _may_refuse_a_picture(error: ProviderError) -> bool:
    """Whether a picture can be the reason. Most vendors have no code for it."""
    return error.status_code == 400 or error.error_code in (
        ErrorCode.UNSUPPORTED_CONTENT,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.TOO_LONG,
    )


def _has_pictures(messages: Iterable[AIMessage]) -> bool:
    return any(isinstance(part, AIImagePart) for message in messages for part in parts_in(message))


def _portable(messages: Iterable[AIMessage], *, vision: bool, foreign: bool = True) -> list[AIMessage]:
    """Return `messages` without what the model asked next cannot take.

    Without `vision` that is every picture; when it is `foreign`, also what only the vendor that
    made it understands.
    """
    return [_without(message, vision, foreign) for message in messages]


def _without(message: AIMessage, vision: bool, foreign: bool) -> AIMessage:
    if isinstance(message.content, str):
        return message
    kept = [_neutral(part, vision, foreign) for part in parts_in(message)]
    return message.replace(content=tuple(part for part in kept if part is not None))


def _neutral(part: AIPart, vision: bool, foreign: bool) -> AIPart | None:
    match part:
        case AIThinkingPart() if foreign:
            return None
        case AIToolCallPart() if foreign:
            return part.replace(metadata=EMPTY)
        case AIImagePart() if not vision:
            return part.note
    return part

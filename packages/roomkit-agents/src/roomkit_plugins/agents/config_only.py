"""The provider of an agent that is configuration for a speech-to-speech model, and answers nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import InvalidInputError

if TYPE_CHECKING:
    from roomkit.models.generation import AIContext, AIResponse

__all__ = ["ConfigOnly"]


class ConfigOnly(AIProvider):
    """No model: it refuses to generate."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id

    @property
    @override
    def model_name(self) -> str:
        return "none"

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        """Refuse. Raises InvalidInputError."""
        raise InvalidInputError(
            f"agent {self._agent_id!r} has no provider: it configures a speech-to-speech channel and answers "
            "nothing itself; give Agent(provider=...)"
        )

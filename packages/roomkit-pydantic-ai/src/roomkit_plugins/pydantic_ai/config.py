"""The model that Pydantic AI asks, and its defaults."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["PydanticAIConfig"]


class PydanticAIConfig(BaseModel):
    """The settings of `PydanticAIProvider`.

    Values of an `AIContext` (temperature, max_tokens, reasoning_effort) override those set here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = "agent"
    """The model in Pydantic AI's words, such as `openai:gpt-5.5`; its provider reads its key from its own
    environment variable. A model or an agent given to the provider takes its place, and this is its name."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that one attempt may take, as the model's own library counts them."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer, in tokens; None leaves it to the model."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the answer, for models that take it."""
    vision: bool = True
    """Whether images are sent. False for a model that takes none."""
    settings: dict[str, object] = Field(default_factory=dict)
    """More of Pydantic AI's `ModelSettings`, such as `seed` or `openai_service_tier`. No secrets."""

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: str) -> str:
        if model != "agent" and ":" not in model and model != "test":
            raise ValueError(
                f"model {model!r} names no provider; write provider:model, such as openai:gpt-5.5"
            )
        return model

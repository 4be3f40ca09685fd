"""How to reach Mistral, and what to ask of it by default."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from roomkit_plugins.wire.connection import check_base_url, check_headers, check_key

__all__ = ["MistralConfig"]

type Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class MistralConfig(BaseModel):
    """The settings of `MistralAIProvider`.

    Values of an `AIContext` (temperature, max_tokens, reasoning_effort) override those set here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The model's id, such as `mistral-large-latest`. It has no default: models retire."""
    api_key: SecretStr | None = None
    """`MISTRAL_API_KEY` without it."""
    base_url: str | None = None
    """Another server that speaks the API, without its `/v1`; the vendor without it."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer in tokens, reasoning included; None leaves it to the model."""
    temperature: float | None = Field(default=None, ge=0, le=1.5)
    """Randomness of the answer; Mistral advises 0 to 0.7."""
    reasoning_effort: Effort | None = None
    """How much the model reasons; each reasoning model knows some of these."""
    prompt_mode: Literal["reasoning"] | None = None
    """Have Magistral models use the vendor's own prompt for reasoning."""
    random_seed: int | None = Field(default=None, ge=0)
    """Makes answers to the same request alike."""
    safe_prompt: bool = False
    """Have the vendor put its safety prompt before the conversation."""
    parallel_tool_calls: bool | None = None
    """False allows one tool call per answer; it applies to requests that offer tools."""
    prompt_cache_key: str | None = None
    """Routes requests with the same beginning to the same cache."""
    service_tier: Literal["standard", "priority"] | None = None
    """The class of service to be billed."""
    vision: bool = True
    """Whether images are sent. False for a model that takes none, such as the Codestral models."""
    extra_headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers for every request. Secret ones are given as `SecretStr`."""

    _check_base_url = field_validator("base_url")(check_base_url)
    _check_headers = field_validator("extra_headers")(check_headers)
    _check_key = field_validator("api_key")(check_key)

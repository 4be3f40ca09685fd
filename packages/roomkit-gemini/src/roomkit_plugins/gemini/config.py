"""How to reach Gemini, and what to ask of it by default."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit_plugins.gemini.models import thinks_by_budget
from roomkit_plugins.wire.connection import check_base_url, check_headers, check_key

__all__ = ["GeminiConfig"]

type Harm = Literal["harassment", "hate_speech", "sexually_explicit", "dangerous_content", "civic_integrity"]
type Threshold = Literal["low_and_above", "medium_and_above", "only_high", "none", "off"]


class GeminiConfig(BaseModel):
    """The settings of `GeminiAIProvider`.

    Values of an `AIContext` (temperature, max_tokens, thinking_budget, reasoning_effort) override
    those set here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The model's id, such as `gemini-3.8-flash`. It has no default: models retire within a year."""
    api_key: SecretStr | None = None
    """Without it the SDK looks where it always does: `GOOGLE_API_KEY`, then `GEMINI_API_KEY`."""
    base_url: str | None = None
    """Another server that speaks the API; `GOOGLE_GEMINI_BASE_URL` and the vendor without it."""
    api_version: str = Field(default="v1beta", pattern=r"^v[0-9a-z]+$")
    """The API's generation, a part of the path. `v1beta` has all that this provider asks for."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer in tokens, thinking included; None leaves it to the model."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the answer. Google advises to leave it out from Gemini 3 on."""
    thinking_level: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    """How much the model thinks; None leaves it to the model. Gemini 2.5 knows `thinking_budget` only."""
    thinking_budget: int | None = Field(default=None, ge=0)
    """Tokens to think with; 0 for as few as the model can. From Gemini 3 on, the closest level is sent."""
    include_thoughts: bool = False
    """Whether summaries of the thinking come with the answer."""
    safety: dict[Harm, Threshold] = Field(default_factory=dict)
    """What the vendor blocks, by kind of harm; other kinds stay at the vendor's default."""
    cached_content: str | None = Field(default=None, pattern=r"^cachedContents/.+")
    """The name of a cached prefix (`cachedContents/...`) that you made, at the vendor's price for storing it.
    It holds the system prompt and the tools, so no request may have its own. Repeated prefixes are cached
    by the vendor without it."""
    service_tier: Literal["standard", "flex", "priority"] | None = None
    """The class of service to be billed."""
    vision: bool = True
    """Whether images are sent. Every current model takes them."""
    extra_headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers for every request. Secret ones are given as `SecretStr`."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """Fields of the request body that have no setting here. They go before everything else."""

    _check_base_url = field_validator("base_url")(check_base_url)
    _check_headers = field_validator("extra_headers")(check_headers)
    _check_key = field_validator("api_key")(check_key)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.thinking_level is not None and self.thinking_budget is not None:
            raise ValueError("thinking_level and thinking_budget both say how much to think; set one of them")
        if self.thinking_level is not None and thinks_by_budget(self.model):
            raise ValueError(f"{self.model} knows no thinking_level; set thinking_budget instead")
        return self

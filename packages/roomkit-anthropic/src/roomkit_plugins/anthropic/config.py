"""How to reach Claude, and what to ask of it by default."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit_plugins.anthropic.models import takes_temperature, thinks_by_budget
from roomkit_plugins.wire.connection import check_base_url, check_headers, check_key

__all__ = ["AnthropicConfig"]


class AnthropicConfig(BaseModel):
    """The settings of `AnthropicAIProvider`.

    Values of an `AIContext` (temperature, max_tokens, thinking_budget, reasoning_effort) override
    those set here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The model's id, such as `claude-sonnet-5-5`. It has no default: models retire within a year."""
    api_key: SecretStr | None = None
    """Without it the SDK looks for credentials where it always does, `ANTHROPIC_API_KEY` first."""
    base_url: str | None = None
    """Another server that speaks the Messages API; `ANTHROPIC_BASE_URL` and the vendor without it."""
    api_version: Literal["2026-10-21", "2023-06-01"] = "2026-10-21"
    """The API's generation. The older one still takes `temperature`, from models that do."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int = Field(default=4096, ge=1)
    """The longest answer, in tokens. A thinking budget comes on top of it."""
    temperature: float | None = Field(default=None, ge=0, le=1)
    """Only with `api_version="2023-06-01"`: API version 2026-10-21 refuses it for every model."""
    thinking: Literal["adaptive", "between_tools", "disabled"] | None = None
    """How the model thinks; None leaves it to the model. Older models know `thinking_budget` only."""
    thinking_budget: int | None = Field(default=None, ge=0)
    """Tokens to think with; 0 for no thinking. A model that paces itself gets the `effort` closest
    to it instead, unless `effort` is set."""
    thinking_display: Literal["summarized", "omitted"] | None = None
    """Whether thinking comes back as a summary, or as a signature only. Needs one of the two above."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much work the model puts into an answer."""
    cache_ttl: Literal["5m", "1h"] | None = None
    """Cache the conversation up to its last turn for so long, at the vendor's price for writing it."""
    service_tier: Literal["auto", "standard_only"] | None = None
    """Whether reserved capacity may be used."""
    user_id: str | None = None
    """An opaque id of your end user, for the vendor's abuse detection. No name, address or number."""
    parallel_tool_calls: bool | None = None
    """False allows one tool call per answer; it applies to requests that offer tools."""
    vision: bool = True
    """Whether images are sent. Every current model takes them."""
    extra_headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers for every request, such as `anthropic-beta`. Secret ones are given as `SecretStr`."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """Fields of the request body that have no setting here. They go before everything else."""

    _check_base_url = field_validator("base_url")(check_base_url)
    _check_headers = field_validator("extra_headers")(check_headers)
    _check_key = field_validator("api_key")(check_key)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.temperature is not None and self.api_version != "2023-06-01":
            raise ValueError(
                f"temperature is not part of API version {self.api_version}; leave it out, or set "
                'api_version="2023-06-01" with a model that still takes it'
            )
        if self.temperature is not None and not takes_temperature(self.model):
            raise ValueError(f"{self.model} takes no temperature; leave it out")
        if self.thinking_display and self.thinking != "adaptive" and not self.thinking_budget:
            raise ValueError(
                'thinking_display says how thinking is shown; set thinking="adaptive" or a '
                "thinking_budget with it, or leave it out"
            )
        if self.thinking in ("adaptive", "between_tools") and thinks_by_budget(self.model):
            raise ValueError(
                f"{self.model} does not know thinking={self.thinking!r}; set thinking_budget instead"
            )
        if self.thinking is not None and self.thinking_budget is not None:
            raise ValueError("thinking and thinking_budget both say how to think; set one of them")
        return self

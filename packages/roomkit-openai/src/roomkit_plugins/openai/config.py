"""How to reach a model, and what to ask of it by default."""

from __future__ import annotations

import os
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit_plugins.openai.models import is_official, is_reasoning_model
from roomkit_plugins.wire.connection import check_base_url, check_headers, check_key

__all__ = ["AzureAIConfig", "OpenAIConfig", "VLLMConfig"]

type Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_CHAT_ONLY = ("include_usage", "max_tokens_field", "think_tags", "reasoning_field")


class OpenAIConfig(BaseModel):
    """The settings of `OpenAIAIProvider`.

    Values of an `AIContext` (temperature, max_tokens, reasoning_effort) override those set
    here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The model's id, such as `gpt-5.5`. It has no default: models retire."""
    api_key: SecretStr | None = None
    """Without it the SDK looks for credentials where it always does, `OPENAI_API_KEY` first."""
    base_url: str | None = Field(
        default_factory=lambda: os.environ.get("OPENAI_BASE_URL"), validate_default=True
    )
    """Another server that speaks the API, with its `/v1`; `OPENAI_BASE_URL` and OpenAI without it."""
    api: Literal["auto", "responses", "chat"] = "auto"
    """Which API is spoken. `auto`: Responses with OpenAI itself, Chat Completions with any other."""
    organization: str | None = None
    """The organization to bill; `OPENAI_ORG_ID` without it."""
    project: str | None = None
    """The project to bill; `OPENAI_PROJECT_ID` without it."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer in tokens, reasoning included; None leaves it to the model."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """What the server calls that (chat); by default the first, except for OpenAI and its reasoning models."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the answer. Reasoning models take none."""
    reasoning_model: bool | None = None
    """Whether the model is one of OpenAI's reasoning models; None goes by its name."""
    reasoning_effort: Effort | None = None
    """How long the model reasons; each model knows some of these."""
    reasoning_summary: Literal["auto", "concise", "detailed"] | None = None
    """Ask for summaries of the reasoning (Responses)."""
    reasoning_field: Literal["reasoning", "reasoning_content"] | None = None
    """Send earlier reasoning back in this field of assistant messages (chat), for servers that want it."""
    think_tags: Literal["inline", "prefilled"] | None = None
    """Take `<think>...</think>` out of the text as thinking, and put it back into history (chat).
    `prefilled`: the server's template opens the tag, so that answers begin inside it."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How wordy answers are."""
    parallel_tool_calls: bool | None = None
    """False allows one tool call per answer; it applies to requests that offer tools."""
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    """The class of service to be billed."""
    safety_identifier: str | None = None
    """An opaque id of your end user, for the vendor's abuse detection. No name, address or number."""
    prompt_cache_key: str | None = None
    """Routes requests with the same beginning to the same cache."""
    store: bool = False
    """Whether the vendor keeps the answer for its dashboard and evaluations."""
    include_usage: bool = True
    """Ask a chat stream to count its tokens; turn off for a server that refuses the option."""
    vision: bool = True
    """Whether images are sent. False for a model that takes none."""
    extra_headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers for every request. Secret ones are given as `SecretStr`."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """Fields of the request body that have no setting here. They go before everything else."""

    @property
    def official(self) -> bool:
        """Whether OpenAI itself is asked."""
        return is_official(self.base_url)

    @property
    def spoken_api(self) -> Literal["responses", "chat"]:
        """The API that is spoken: `api`, or what `auto` comes to."""
        if self.api == "auto":
            return "responses" if self.official else "chat"
        return self.api

    @property
    def reasons(self) -> bool:
        """Whether the model is one of OpenAI's reasoning models."""
        return is_reasoning_model(self.model) if self.reasoning_model is None else self.reasoning_model

    _check_base_url = field_validator("base_url")(check_base_url)
    _check_headers = field_validator("extra_headers")(check_headers)
    _check_key = field_validator("api_key")(check_key)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.temperature is not None and self.reasons:
            raise ValueError(f"{self.model} is a reasoning model and takes no temperature; leave it out")
        if self.spoken_api == "chat" and self.reasoning_summary is not None:
            raise ValueError('reasoning_summary belongs to the Responses API; set api="responses"')
        if self.spoken_api == "responses":
            for name in _CHAT_ONLY:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f'{name} belongs to the chat API; set api="chat", or leave it out')
        if self.think_tags and self.reasoning_field:
            raise ValueError("think_tags and reasoning_field both say where reasoning goes; set one")
        return self


class VLLMConfig(BaseModel):
    """The settings of a model served by vLLM, or by another server that speaks OpenAI's chat API."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The name under which the server serves the model."""
    base_url: str = "http://localhost:8000/v1"
    """The server, with its `/v1`."""
    api_key: SecretStr = SecretStr("none")
    """What the server was started with as `--api-key`, if it was."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer in tokens, reasoning included; None leaves it to the server."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the answer."""
    enable_thinking: bool | None = None
    """For the chat template of models with a switch (Qwen, Granite, DeepSeek): whether to think."""
    think_tags: Literal["inline", "prefilled"] | None = None
    """Set it when the server runs without `--reasoning-parser`; see `OpenAIConfig`."""
    reasoning_field: Literal["reasoning", "reasoning_content"] | None = None
    """Send earlier reasoning back in this field of assistant messages."""
    vision: bool = False
    """Whether the served model takes images."""
    include_usage: bool = True
    """Ask streams to count their tokens."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """Fields of the request body that have no setting here, such as `top_k` or `min_p`."""

    _check_base_url = field_validator("base_url")(check_base_url)

    def to_openai(self) -> OpenAIConfig:
        """Return the same settings as those of an OpenAI-compatible server."""
        shared = self.model_dump(exclude={"enable_thinking", "extra_body"})
        body = dict(self.extra_body)
        if self.enable_thinking is not None:
            # One name for Qwen, one for DeepSeek and Granite; a template ignores what it does not know.
            switches = {"enable_thinking": self.enable_thinking, "thinking": self.enable_thinking}
            given = body.get("chat_template_kwargs")
            body["chat_template_kwargs"] = {**switches, **(given if isinstance(given, dict) else {})}
        return OpenAIConfig(
            **shared,
            api="chat",
            reasoning_model=False,
            max_tokens_field="max_tokens",
            extra_body=body,
        )


class AzureAIConfig(BaseModel):
    """The settings of a model that Azure serves (Azure OpenAI, Microsoft Foundry)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    """The name of the deployment, which you chose in the portal."""
    azure_endpoint: str | None = Field(
        default_factory=lambda: os.environ.get("AZURE_OPENAI_ENDPOINT"), validate_default=True
    )
    """The resource, such as `https://acme.openai.azure.com`; `AZURE_OPENAI_ENDPOINT` without it."""
    api_key: SecretStr | None = None
    """One of the resource's keys; `AZURE_OPENAI_API_KEY` without it, unless the provider gets tokens."""
    api_version: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}(-preview)?$")
    """A dated version of the API, such as `2024-10-21`; None for the v1 API, which needs none."""
    api: Literal["chat", "responses"] = "chat"
    """Which API is spoken. Every deployed model knows the first."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds without a byte from the server before a call fails as `timeout`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer in tokens, reasoning included; None leaves it to the model."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Randomness of the answer. Reasoning models take none."""
    reasoning_model: bool | None = None
    """Whether the deployed model is one of the reasoning models; None goes by the deployment's name."""
    reasoning_effort: Effort | None = None
    """How long the model reasons; each model knows some of these."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """How wordy answers are."""
    parallel_tool_calls: bool | None = None
    """False allows one tool call per answer; it applies to requests that offer tools."""
    prompt_cache_key: str | None = None
    """Routes requests with the same beginning to the same cache."""
    include_usage: bool = True
    """Ask a chat stream to count its tokens."""
    vision: bool = True
    """Whether images are sent. False for a model that takes none."""
    extra_headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers for every request. Secret ones are given as `SecretStr`."""
    extra_body: dict[str, object] = Field(default_factory=dict)
    """Fields of the request body that have no setting here. They go before everything else."""

    _check_headers = field_validator("extra_headers")(check_headers)
    _check_key = field_validator("api_key")(check_key)

    @field_validator("azure_endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None) -> str:
        if not endpoint:
            raise ValueError("there is no resource to ask: set azure_endpoint, or AZURE_OPENAI_ENDPOINT")
        return (check_base_url(endpoint) or "").rstrip("/")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.to_openai()
        return self

    def to_openai(self) -> OpenAIConfig:
        """Return the same settings as those of a server that speaks OpenAI's API."""
        shared = self.model_dump(exclude={"azure_endpoint", "api_version", "extra_headers", "include_usage"})
        of_chat: dict[str, Any] = {
            "include_usage": self.include_usage,
            "max_tokens_field": "max_completion_tokens",
        }
        return OpenAIConfig(
            **shared,
            **(of_chat if self.api == "chat" else {}),
            base_url=f"{self.azure_endpoint}/openai/v1",
            extra_headers=self.extra_headers,
        )

"""What a verification is set to, and what people read of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["VerificationRules", "VerificationTexts"]


class VerificationTexts(BaseModel):
    """What people are told. `{code}` and `{minutes}`, `{left}` are filled in.

    `verified` is said only where no agent goes on; None says nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = (
        "Your code is {code}. It is valid for {minutes} minutes. If you did not ask for it, ignore it."
    )
    wrong: str | None = "That code is not right. You can try {left} more."
    failed: str | None = "That code is not right, and it is no longer valid."
    verified: str | None = "Thank you, you are verified."

    @field_validator("code")
    @classmethod
    def _has_code(cls, text: str) -> str:
        _filled(text, code="0", minutes=1)
        if "{code}" not in text:
            raise ValueError("it has no {code}")
        return text

    @field_validator("wrong")
    @classmethod
    def _counts(cls, text: str | None) -> str | None:
        return text if text is None else text and (_filled(text, left=1) and text)


def _filled(text: str, **values: object) -> str:
    try:
        return text.format(**values)
    except (LookupError, ValueError, AttributeError) as error:
        raise ValueError(
            f"it cannot be filled in ({type(error).__name__}); use {', '.join(values)}"
        ) from None


class VerificationRules(BaseModel):
    """What `PersonVerification` is set to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tools: tuple[str, ...] = Field(min_length=1)
    address_of: Callable[..., object] | None = None
    send_by: str | None = None
    ttl: timedelta
    code_length: int = Field(ge=4, le=12)
    code_ttl: timedelta
    max_attempts: int = Field(ge=1, le=10)
    max_codes: int = Field(ge=1, le=100)
    resend_after: timedelta
    texts: VerificationTexts

    @field_validator("tools")
    @classmethod
    def _none_is_empty(cls, tools: tuple[str, ...]) -> tuple[str, ...]:
        if not all(tools):
            raise ValueError("a tool's name is not empty")
        return tools

"""The settings of the channel in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["SMSChannelConfig"]


class SMSChannelConfig(BaseModel):
    """The options of `SMSChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_number: str | None = Field(
        None, min_length=1, description="The number or name that every message is sent from."
    )
    from_numbers: tuple[str, ...] = Field(
        (), description="Numbers to send from; each recipient always gets the same."
    )
    max_segments: int | None = Field(
        None, ge=1, description="The most segments of one message; None for no limit."
    )
    purpose: str = Field(
        "all", min_length=1, description="What deliveries need consent for, unless their event says."
    )
    languages: tuple[str, ...] | None = Field(
        None, description="Languages whose opt-out words count; None for all."
    )
    stop_words: tuple[str, ...] = Field((), description="Further words that opt out.")

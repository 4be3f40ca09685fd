"""The settings of the channel in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RCSChannelConfig"]


class RCSChannelConfig(BaseModel):
    """The options of `RCSChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fallback: bool = Field(True, description="Whether the vendor may send an SMS to a telephone without RCS.")
    check_capability: bool = Field(
        True, description="Whether the vendor is asked before each message, where it may not send an SMS."
    )
    purpose: str = Field("all", min_length=1, description="What deliveries need consent for, by default.")
    languages: tuple[str, ...] | None = Field(None, description="Languages of opt-out words; None for all.")
    stop_words: tuple[str, ...] = Field((), description="Further words that opt out.")

"""The settings of the channel in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["EmailChannelConfig"]


class EmailChannelConfig(BaseModel):
    """The options of `EmailChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_address: str | None = Field(
        None, min_length=3, description="The sender of every mail, instead of the provider's."
    )
    subject: str | None = Field(
        None, min_length=1, description="The subject of a first mail whose event and binding name none."
    )
    reply_address: str | None = Field(
        None, min_length=3, description="Where answers go: each room gets its own address, with a +token."
    )
    unsubscribe_url: str | None = Field(
        None, min_length=8, description="The public URL of the channel's webhook `unsubscribe`."
    )
    secret: SecretStr | None = Field(
        None, description="Signs the tokens of reply_address and unsubscribe_url."
    )
    purpose: str = Field("all", min_length=1, description="What deliveries need consent for, by default.")
    languages: tuple[str, ...] | None = Field(None, description="Languages of opt-out words; None for all.")
    stop_words: tuple[str, ...] = Field((), description="Further words that opt out.")

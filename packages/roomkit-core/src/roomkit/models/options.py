"""The options of a kit that are plain values: of `RoomKit(...)`, and of the table `[kit]` of roomkit.toml."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.duration import length_in_seconds
from roomkit.models.enums import AgentResponsePolicy, ChannelType
from roomkit.models.vocabulary import declared
from roomkit.models.zone import ZoneName

__all__ = ["KitOptions"]

LARGEST_COUNT = 2**31 - 1
"""Counts are stored with what they limit; every store can hold this one."""


def _length(value: object) -> object:
    return length_in_seconds(value) if isinstance(value, str | int | float | timedelta) else value


def _response_policy(value: object) -> object:
    return declared(AgentResponsePolicy, value) if isinstance(value, str) else value


def _all_if_empty(value: object) -> object:
    return (value or None) if isinstance(value, Collection) else value


def _as_set(value: object) -> object:
    return frozenset(value) if isinstance(value, Collection) and not isinstance(value, str) else value


def _default_if_none(value: object) -> object:
    return RetryPolicy() if value is None else value


Seconds = Annotated[float, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT, strict=True)]
Length = Annotated[float | None, BeforeValidator(_length, json_schema_input_type=str | float | None)]
ResponsePolicy = Annotated[AgentResponsePolicy, BeforeValidator(_response_policy)]
ChannelTypes = Annotated[frozenset[ChannelType] | None, BeforeValidator(_all_if_empty)]
DefaultRetryPolicy = Annotated[RetryPolicy, BeforeValidator(_default_if_none)]


Purposes = Annotated[frozenset[str], BeforeValidator(_as_set)]


class KitOptions(BaseModel):
    """The options of `RoomKit` that are plain values, with their defaults; times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_chain_depth: Count = Field(5, description="How long a chain of answers may get.")
    process_timeout: Seconds = Field(30.0, description="Deadline of one message until its commit.")
    identity_timeout: Seconds = Field(10.0, description="Deadline of identity resolution.")
    identity_channel_types: ChannelTypes = Field(
        None, description="The types of channels whose senders are resolved; all by default."
    )
    inbound_rate_limit: RateLimit | None = Field(
        None, description="How many messages each channel may bring; no limit by default."
    )
    agent_response_policy: ResponsePolicy = Field(
        AgentResponsePolicy.AGENT_CHAIN, description="Whether agents answer other agents unasked."
    )
    retry_policy: DefaultRetryPolicy = Field(
        RetryPolicy(), description="How deliveries are retried by bindings without a policy of their own."
    )
    delivery_timeout: Seconds = Field(30.0, description="Deadline of one attempt of a delivery.")
    agent_timeout: Seconds = Field(600.0, description="Deadline of one turn of an agent.")
    close_timeout: Seconds = Field(10.0, description="Deadline of closing the kit.")
    abandon_after: Seconds = Field(
        5.0, description="How long after its cancellation code that has not ended is abandoned."
    )
    sweep_interval: Seconds | None = Field(
        None,
        description="How often due room timers are looked for: by default a third of `lease_seconds`, and "
        "never in a store that ends with the process.",
    )
    lease_seconds: Seconds = Field(15.0, description="After how long a killed worker's work is reclaimed.")
    max_claims: Count = Field(
        5,
        description="How many workers may claim a delivery or timer before each start is recorded, so that "
        "a poison message is found and quarantined.",
    )
    unclaimed_after: Seconds = Field(
        900.0, description="After how long a delivery fails whose channel no worker has registered."
    )
    retention: Length = Field(
        None,
        description='How long rooms keep their events: seconds, or "180d"; by default as long as the room.',
    )
    max_lane_backlog: Count = Field(10_000, description="How many deliveries may wait in a lane.")
    max_waiting_in_memory: Count = Field(
        1_000,
        description="How many waiting deliveries are held in memory as a whole, over all lanes; a durable "
        "store is read again for the others.",
    )
    max_webhook_bytes: Count = Field(
        32 * 1024 * 1024, description="How large the body of a vendor's request may be."
    )
    media_url: str | None = Field(
        None, description="Where the kit's routes are reached from outside, for signed URLs of files."
    )
    media_limit: Count = Field(25 * 1024 * 1024, description="How many bytes a stored file may have.")
    media_key: SecretStr | None = Field(
        None,
        description="The key that URLs of files are signed with; by default one that is made once for each "
        "store.",
    )
    worker_url: str | None = Field(
        None, description="Where this worker is reached by the second leg of a call; other workers see it."
    )
    require_opt_in: Purposes = Field(
        frozenset(),
        description="The purposes for which nothing is sent to an address that has not agreed.",
    )
    suppression_key: SecretStr | None = Field(
        None,
        description="The key that addresses in the register of consents are hashed with; by default one that "
        "is made once for each store.",
    )
    timezone: ZoneName = Field(
        "UTC",
        description="The zone of people of whom none is known, for `LocalTime`: a name of the IANA database.",
    )
    single_process: bool = Field(False, strict=True, description="That no other process uses the store.")

    def given(self) -> dict[str, object]:
        """Return the options that were set, as keyword arguments of `RoomKit`."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }

"""What models cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ModelPrice"]


class ModelPrice(BaseModel):
    """What a million tokens of a model cost, in a currency of your choice, the same for all your prices."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0, description="Tokens of the request that no cache had.")
    output: float = Field(ge=0, description="Tokens of the answer, reasoning included.")
    cache_read: float | None = Field(None, ge=0, description="Tokens read from the vendor's cache.")
    cache_write: float | None = Field(None, ge=0, description="Tokens written to it.")

"""Facts about Anthropic's models, in one place.

From the model overview and the SDK's lists, checked 2026-11-22.
"""

from __future__ import annotations

__all__ = ["takes_temperature", "thinks_by_budget"]

_BUDGET_ONLY = ("claude-3", "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")
"""Models of before adaptive thinking: they think by `budget_tokens`."""

_SAMPLED = (*_BUDGET_ONLY, "claude-sonnet-4-6", "claude-opus-4-6")
"""Models that take sampling parameters, under API version 2023-06-01. From Opus 4.7 on none does."""


def thinks_by_budget(model: str) -> bool:
    """Whether the model's thinking is asked for with a budget, and in no other way."""
    return model.startswith(_BUDGET_ONLY)


def takes_temperature(model: str) -> bool:
    """Whether the model takes a temperature, where the API version does."""
    return model.startswith(_SAMPLED)

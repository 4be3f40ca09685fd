"""Facts about Gemini's models, in one place.

From the thinking guide and the model list, checked 2026-11-22.
"""

from __future__ import annotations

__all__ = ["thinks_by_budget"]

_BUDGET_ONLY = ("gemini-2.5", "models/gemini-2.5")
"""Models of before thinking levels. From Gemini 3 on, a level says how much a model thinks."""


def thinks_by_budget(model: str) -> bool:
    """Whether the model's thinking is asked for with a budget, and in no other way."""
    return model.startswith(_BUDGET_ONLY)

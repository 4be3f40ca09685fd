"""Facts about OpenAI's models, in one place.

From the model pages and the SDK's lists, checked 2026-11-22.
"""

from __future__ import annotations

import re

__all__ = ["is_official", "is_reasoning_model"]

_REASONING = re.compile(r"(o[134]|gpt-[56])(?![a-z])(?!.*-chat)")
"""The o series, and GPT from 5 on except its chat variants."""


def is_reasoning_model(model: str) -> bool:
    """Whether the model reasons: it takes no temperature, and `max_completion_tokens` only."""
    return _REASONING.match(model) is not None


def is_official(base_url: str | None) -> bool:
    """Whether `base_url` is OpenAI's own API, in any of its regions."""
    if base_url is None:
        return True
    host = re.match(r"https?://([^/:?#]+)", base_url)
    return host is not None and (host[1] == "api.openai.com" or host[1].endswith(".api.openai.com"))

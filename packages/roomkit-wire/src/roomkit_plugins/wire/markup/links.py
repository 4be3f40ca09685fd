"""Which URLs of a formatted text may stay links."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["kept_url"]

_LONGEST = 2_000


def kept_url(url: str | None, schemes: Collection[str]) -> str:
    """Return a URL without space around it, "" if it has another scheme, a control character or no scheme."""
    found = (url or "").strip()
    scheme = found.partition(":")[0].lower()
    if scheme not in schemes or len(found) > _LONGEST or not found.isprintable() or " " in found:
        return ""
    return found

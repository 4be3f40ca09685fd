"""Refusals of the library in the words of the command line: they advise commands, not calls."""

from __future__ import annotations

__all__ = ["spoken"]

_ADVICE = {
    "room_not_found": "check the id, and which store --store or --config names",
    "delivery_not_found": "`roomkit deliveries list` shows those there are",
    "identity_not_found": "check the id, and which store --store or --config names",
    "participant_not_found": "check the id, and which store --store or --config names",
}
"""What to do instead of the call that the end of the message advises, by the error's code."""

_RESTART = "restart from the first page with after=None"


def spoken(error: BaseException) -> tuple[str, str | None]:
    """Return what an error says, and the next step where there is one beside it."""
    message = str(error)
    if (next_step := getattr(error, "next_step", None)) is not None:
        return message, next_step
    if (advice := _ADVICE.get(getattr(error, "code", ""))) is not None:
        said, separator, _ = message.rpartition(": ")
        return (said if separator else message), advice
    if message.endswith(_RESTART):
        return message.removesuffix(f": {_RESTART}"), "leave --after out to begin with the first page"
    return message, None

"""Errors of a skill, and of a request to it."""

from __future__ import annotations

from roomkit.abc.errors import RoomKitError

__all__ = ["SkillError", "SkillNotFoundError", "SkillParseError", "SkillValidationError"]


class SkillError(RoomKitError):
    """The base of the errors of skills."""

    code = "skill"


class SkillParseError(SkillError, ValueError):
    """A `SKILL.md` that cannot be read."""

    code = "skill_parse"


class SkillValidationError(SkillError, ValueError):
    """A skill that breaks a rule: its name, its description, its place."""

    code = "skill_invalid"


class SkillNotFoundError(SkillError, LookupError):
    """There is no such skill, reference or script."""

    code = "skill_not_found"

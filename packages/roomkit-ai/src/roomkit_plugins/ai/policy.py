"""Which tools an agent may use, and for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from roomkit.models.base import Record

__all__ = ["RoleOverride", "ToolPolicy", "matches"]

type Globs = tuple[str, ...]


class RoleOverride(Record):
    """How a tool policy changes for participants of one role.

    `restrict` adds to the policy: what either denies is denied, and a tool must pass both allow
    lists. `replace` puts these lists in the place of the policy's.
    """

    allow: Globs = ()
    """Tools that may be used, as globs; all of them if empty."""
    deny: Globs = ()
    """Tools that may not be used, as globs."""
    mode: Literal["restrict", "replace"] = "restrict"
    """Whether these lists add to those of the policy, or replace them."""


class ToolPolicy(Record):
    """Which tools may be offered and run, as shell-style globs on their names, case-sensitive.

    A tool that matches `deny` is refused. With `allow` set, only what matches it passes, and with
    `within` set only what matches that too (that is how a restricting role override is kept).
    `role_overrides` is keyed by `ParticipantRole` value.
    """

    allow: Globs = ()
    """Tools that may be used, as globs; all of them if empty."""
    deny: Globs = ()
    """Tools that may not be used, as globs."""
    within: Globs = ()
    """Tools that may be used of those that `allow` lets pass, as globs; all of them if empty."""
    role_overrides: Mapping[str, RoleOverride] = Field(default_factory=dict)
    """How the policy changes for a role of participants, such as `observer`."""

    def resolve(self, role: str | None) -> ToolPolicy:
        """Return the policy for a sender of `role`.

        A sender without a role, such as one who has no participant record, counts as a `member`:
        the role everybody starts with.
        """
        override = self.role_overrides.get(role or "member")
        if override is None:
            return self
        if override.mode == "replace":
            return ToolPolicy(allow=override.allow, deny=override.deny)
        return ToolPolicy(
            allow=self.allow or override.allow,
            within=override.allow if self.allow else (),
            deny=self.deny + override.deny,
        )

    def is_allowed(self, name: str) -> bool:
        """Return whether the tool `name` passes."""
        if matches(name, self.deny):
            return False
        return all(matches(name, globs) for globs in (self.allow, self.within) if globs)


def matches(name: str, globs: Iterable[str]) -> bool:
    """Return whether a name matches one of the globs."""
    return any(fnmatchcase(name, glob) for glob in globs)

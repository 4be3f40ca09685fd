"""The settings of skills in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["SkillsConfig"]


class SkillsConfig(BaseModel):
    """The settings of `SkillRegistry`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: tuple[str, ...] = Field((), description="Folders whose subfolders are skills.")

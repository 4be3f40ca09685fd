"""One skill: of a folder, or made in code."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from roomkit.abc.errors import InvalidInputError
from roomkit.models.ai import AITool
from roomkit_plugins.skills.errors import SkillNotFoundError, SkillParseError, SkillValidationError
from roomkit_plugins.skills.files import entries, named, read_text
from roomkit_plugins.skills.metadata import SkillMetadata, parsed

if TYPE_CHECKING:
    from roomkit.abc.ai import ToolHandler

__all__ = ["Skill"]

SCRIPTS, REFERENCES = "scripts", "references"


class Skill:
    """Something an agent can do, told to it when it needs it.

    `instructions` are what a model reads when it activates the skill. `handler` answers calls of the skill's
    `tools`, as `(name, arguments)`; without `tools` there is one, named as the skill, with its description
    and any arguments. They are on offer once the skill is activated, or at once if there are no instructions.
    `path` is the skill's folder. Raises InvalidInputError for tools without a handler.
    """

    def __init__(
        self,
        metadata: SkillMetadata,
        instructions: str = "",
        path: Path | None = None,
        *,
        handler: ToolHandler | None = None,
        tools: Iterable[AITool] = (),
    ) -> None:
        self.metadata = metadata
        self.instructions = instructions
        self.path = None if path is None else path.resolve()
        self.handler = handler
        self.tools = tuple(tools) or _only_tool(metadata, handler)
        if self.tools and handler is None:
            raise InvalidInputError(f"the skill {metadata.name!r} has tools but no handler; give it one")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read the skill of a folder.

        Raises SkillParseError and SkillValidationError, which name the file and the fault.
        """
        root = Path(folder).resolve()
        path = _skill_file(root)
        metadata, instructions = parsed(read_text(path), str(path))
        if metadata.name != root.name:
            raise SkillValidationError(
                f"{path} names the skill {metadata.name!r}, but its folder is {root.name!r}; "
                "give both one name"
            )
        return cls(metadata, instructions, root)

    @property
    def name(self) -> str:
        """The skill's name."""
        return self.metadata.name

    @property
    def description(self) -> str:
        """When to use it."""
        return self.metadata.description

    @property
    def needs_activation(self) -> bool:
        """Whether there is anything to activate: instructions, files or withheld tools."""
        return bool(self.instructions or self.path or self.metadata.gated_tool_names)

    @property
    def has_scripts(self) -> bool:
        """Whether it has scripts."""
        return bool(self.list_scripts())

    @property
    def has_references(self) -> bool:
        """Whether it has references."""
        return bool(self.list_references())

    def list_scripts(self) -> list[str]:
        """Return the names of its scripts, sorted."""
        return [] if self.path is None else entries(self.path, SCRIPTS)

    def list_references(self) -> list[str]:
        """Return the names of its references, sorted."""
        return [] if self.path is None else entries(self.path, REFERENCES)

    def read_reference(self, filename: str) -> str:
        """Return the text of a reference.

        Raises SkillNotFoundError for a name that is not one of `list_references`, and SkillValidationError
        for a file that is not text or too large.
        """
        return read_text(self._file(REFERENCES, filename))

    def script_path(self, script_name: str) -> Path:
        """Return the path of a script, for an executor.

        Raises SkillNotFoundError for a name that is not one of `list_scripts`.
        """
        return self._file(SCRIPTS, script_name)

    def _file(self, folder: str, name: str) -> Path:
        if self.path is None:
            raise SkillNotFoundError(f"the skill {self.name!r} has no folder, and so no {folder}")
        return named(self.path, folder, name)

    def __repr__(self) -> str:
        return f"Skill({self.name!r})"


def _only_tool(metadata: SkillMetadata, handler: ToolHandler | None) -> tuple[AITool, ...]:
    if handler is None:
        return ()
    return (AITool(name=metadata.name, description=metadata.description, parameters={"type": "object"}),)


def _skill_file(root: Path) -> Path:
    try:
        found = [name for name in os.listdir(root) if name.lower() == "skill.md"]
    except OSError as error:
        raise SkillParseError(f"{root} is not a folder of a skill: {error.strerror}") from error
    if len(found) != 1:
        count = "no SKILL.md" if not found else f"{len(found)} files called SKILL.md"
        raise SkillParseError(f"{root} has {count}; a skill has one")
    return root / found[0]

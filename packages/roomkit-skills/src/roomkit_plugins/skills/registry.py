"""The skills of an agent: found, offered, and activated room by room."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, override
from xml.sax.saxutils import escape, quoteattr

from roomkit.abc.log import get_logger
from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.models.ai import AITool
from roomkit.models.base import EMPTY, Json
from roomkit.models.tool import ToolResult
from roomkit_plugins.skills.errors import SkillError, SkillNotFoundError, SkillValidationError
from roomkit_plugins.skills.skill import Skill

if TYPE_CHECKING:
    from roomkit.abc.ai import ToolHandler
    from roomkit.models.room import Room
    from roomkit_plugins.skills.metadata import SkillMetadata
    from roomkit_plugins.skills.scripts import ScriptExecutor

__all__ = ["SkillRegistry"]

logger = get_logger("roomkit.skills")

ACTIVATE, READ, RUN = "activate_skill", "read_skill_reference", "run_skill_script"
_PREAMBLE = (
    "You have skills. When a task fits the description of one, call activate_skill with its name first, and "
    "follow its instructions."
)
_ABOUT = {
    ACTIVATE: "Activate a skill: read its instructions, and get its tools.",
    READ: "Read a reference file of a skill.",
    RUN: "Run a script of an active skill.",
}
_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"type": "object", "additionalProperties": _TEXT}


class SkillRegistry(ToolProvider):
    """Holds skills and offers them to the agents that have it among their `tool_providers`.

    A model reads the names and descriptions of all skills, and activates one by its name. Then the skill's
    instructions are in the agent's prompt, and its tools on offer: for the rest of the conversation, in that
    room alone, on every worker and after a restart, because it is kept in the room's state. All agents of a
    room that share the registry share the active skills.

    `folders` are searched by `discover`. Scripts run only if there is a `script_executor`; it is closed with
    the registry.
    """

    def __init__(
        self, folders: Iterable[str | os.PathLike[str]] = (), *, script_executor: ScriptExecutor | None = None
    ) -> None:
        self._skills: dict[str, Skill] = {}  # bound: the skills registered
        self._executor = script_executor
        self.discover(*folders)

    @property
    def skill_names(self) -> list[str]:
        """The names of the skills, in the order in which they were registered."""
        return [*self._skills]

    @property
    def skill_count(self) -> int:
        """How many skills there are."""
        return len(self._skills)

    def register(self, skill: Skill | str | os.PathLike[str]) -> SkillMetadata:
        """Add a skill, or that of a folder; return its metadata.

        Raises SkillValidationError for a name that is taken, and what `Skill.load` raises.
        """
        ready = skill if isinstance(skill, Skill) else Skill.load(skill)
        self._add([ready])
        return ready.metadata

    def discover(self, *folders: str | os.PathLike[str], strict: bool = True) -> int:
        """Add the skills of all subfolders that have a `SKILL.md`; return how many.

        If any is broken none is added: raises SkillError with all that is wrong. With `strict=False` broken
        ones are omitted, each with a warning.
        """
        found: list[Skill] = []
        problems: list[str] = []
        for folder in folders:
            for place in _skill_folders(Path(folder), problems):
                try:
                    found.append(Skill.load(place))
                except SkillError as error:
                    problems.append(str(error))
        if problems and strict:
            raise SkillValidationError("; ".join(problems))
        for problem in problems:
            logger.warning("a skill is omitted: %s", problem)
        self._add(found)
        return len(found)

    def get_skill(self, name: str) -> Skill:
        """Return a skill. Raises SkillNotFoundError."""
        skill = self._skills.get(name)
        if skill is None:
            known = ", ".join(self._skills) or "none"
            raise SkillNotFoundError(f"there is no skill {name!r:.100}; there are: {known}")
        return skill

    def get_metadata(self, name: str) -> SkillMetadata:
        """Return a skill's metadata. Raises SkillNotFoundError."""
        return self.get_skill(name).metadata

    def all_metadata(self) -> list[SkillMetadata]:
        """Return the metadata of all skills."""
        return [each.metadata for each in self._skills.values()]

    def to_prompt_xml(self) -> str:
        """Return what a model reads of the skills that it can activate."""
        lines = [
            f"<skill><name>{each.name}</name><description>{escape(each.description)}</description></skill>"
            for each in self._skills.values()
            if each.needs_activation
        ]
        return "\n".join(["<available_skills>", *lines, "</available_skills>"])

    def active_skills(self, room: Room) -> list[str]:
        """Return the names of the skills that are active in a room, those of this registry."""
        state = room.state.get(self._namespace)
        names = state.get("active", ()) if isinstance(state, Mapping) else ()
        return [name for name in names if name in self._skills]

    @override
    async def offer(self, room: Room) -> ToolOffer:
        """Return the tools that activate and read skills, and those of the skills that are active."""
        active = self.active_skills(room)
        skills = self._skills.values()
        ready = [each for each in skills if each.name in active or not each.needs_activation]
        tools = [ProvidedTool(tool, each.handler) for each in ready for tool in each.tools if each.handler]
        to_activate = [each for each in skills if each.needs_activation]
        if not to_activate:
            return ToolOffer(tools)
        own = self._own_tools(to_activate, room.id)
        granted = [glob for each in skills if each.name in active for glob in each.metadata.gated_tool_names]
        return ToolOffer(
            [*own, *tools],
            [f"{_PREAMBLE}\n{self.to_prompt_xml()}", *(_told(self._skills[name]) for name in active)],
            withheld={
                glob: f"this tool belongs to the skill {each.name!r}: call {ACTIVATE} with that name first"
                for each in to_activate
                if each.name not in active
                for glob in each.metadata.gated_tool_names
            },
            granted=[*granted, *(each.definition.name for each in own)],
        )

    @override
    async def close(self) -> None:
        """Close the executor of scripts. Idempotent."""
        if self._executor is not None:
            await self._executor.close()

    @property
    def _namespace(self) -> str:
        return "skills" if self.services is None else self.services.namespace

    def _add(self, skills: Iterable[Skill]) -> None:
        new: dict[str, Skill] = {}
        for each in skills:
            if each.name in self._skills or each.name in new:
                raise SkillValidationError(
                    f"there is a skill {each.name!r} already; give this one another name"
                )
            new[each.name] = each
        self._skills |= new

    def _own_tools(self, skills: Iterable[Skill], room_id: str) -> list[ProvidedTool]:
        names = [each.name for each in skills]
        folders = [each.name for each in skills if each.path is not None]
        own = [_tool(ACTIVATE, partial(self._activate, room_id), {"name": _one_of(names)})]
        if folders:
            own.append(_tool(READ, self._read, {"skill_name": _one_of(folders), "filename": _TEXT}))
        if folders and self._executor is not None:
            running = {"skill_name": _one_of(folders), "script_name": _TEXT}
            own.append(_tool(RUN, partial(self._run, room_id), running, {"arguments": _TEXTS}))
        return own

    async def _activate(self, room_id: str, name: str, arguments: dict[str, Any]) -> str:
        skill = self.get_skill(arguments["name"])
        if self.services is None:
            raise SkillError("skills are activated in a room of a kit; register the agent with one first")
        about = await asyncio.to_thread(_about, skill)
        await self.services.rooms.change_state(room_id, partial(_with, skill.name))
        return about

    async def _read(self, name: str, arguments: dict[str, Any]) -> str:
        skill = self.get_skill(arguments["skill_name"])
        return await asyncio.to_thread(skill.read_reference, arguments["filename"])

    async def _run(self, room_id: str, name: str, arguments: dict[str, Any]) -> ToolResult:
        skill, script = self.get_skill(arguments["skill_name"]), arguments["script_name"]
        if self._executor is None or self.services is None:
            raise SkillError("there is nothing that runs scripts")
        if skill.name not in self.active_skills(await self.services.rooms.read_room(room_id)):
            raise SkillError(f"the skill {skill.name!r} is not active: call {ACTIVATE} with its name first")
        await asyncio.to_thread(skill.script_path, script)
        result = await self._executor.execute(skill, script, arguments.get("arguments"))
        told = {"exit_code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}
        return ToolResult(text=json.dumps(told, ensure_ascii=False), is_error=not result.success)


def _tool(
    name: str, handler: ToolHandler, required: dict[str, Json], optional: Mapping[str, Json] = EMPTY
) -> ProvidedTool:
    schema = {
        "type": "object",
        "properties": {**required, **optional},
        "required": [*required],
        "additionalProperties": False,
    }
    definition = AITool(name=name, description=_ABOUT[name], parameters=schema)
    return ProvidedTool(definition, handler, changes_offer=name == ACTIVATE, exempt=name != RUN)


def _one_of(names: list[str]) -> Json:
    return {"type": "string", "description": "The skill's name.", "enum": names}


def _with(name: str, state: Json | None) -> Json:
    """Return a room's state of skills with one more that is active."""
    active = [*state.get("active", ())] if state else []
    return {**(state or {}), "active": active if name in active else [*active, name]}


def _about(skill: Skill) -> str:
    about = {
        "name": skill.name,
        "description": skill.description,
        "instructions": skill.instructions,
        "scripts": skill.list_scripts(),
        "references": skill.list_references(),
    }
    return json.dumps(about, ensure_ascii=False)


def _told(skill: Skill) -> str:
    return f"<skill name={quoteattr(skill.name)}>\n{skill.instructions}\n</skill>"


def _skill_folders(folder: Path, problems: list[str]) -> list[Path]:
    """Return the subfolders that have a `SKILL.md`; links are problems."""
    try:
        places = sorted(each for each in folder.resolve(strict=True).iterdir() if each.is_dir())
        found = [each for each in places if any(name.lower() == "skill.md" for name in os.listdir(each))]
    except (OSError, ValueError) as error:
        problems.append(f"{folder} cannot be searched for skills: {error}")
        return []
    problems += [
        f"{each} is a symbolic link; put the skill itself there" for each in found if each.is_symlink()
    ]
    return [each for each in found if not each.is_symlink()]

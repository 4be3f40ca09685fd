"""Running scripts of skills: how, and whether at all, is the host's decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkit.models.base import Json

if TYPE_CHECKING:
    from roomkit_plugins.skills.skill import Skill

__all__ = ["ScriptExecutor", "ScriptResult"]


@dataclass(slots=True, frozen=True)
class ScriptResult:
    """The outcome of a script."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    success: bool = True
    metadata: Json = field(default_factory=dict)


class ScriptExecutor(ABC):
    """Runs scripts of skills. There is no default: a script is code that a model decides to run.

    One object serves all rooms concurrently. Where a script runs, with which rights, variables and limits, is
    the executor's.
    """

    @abstractmethod
    async def execute(
        self, skill: Skill, script_name: str, arguments: Mapping[str, str] | None = None
    ) -> ScriptResult:
        """Run a script of a skill; `script_name` is one of `skill.list_scripts()`.

        `arguments` come from a model: pass them as an argument vector, never through a shell. When it is
        cancelled, it stops the script. What it raises is the call's error.
        """

    async def close(self) -> None:  # noqa: B027 - an executor may have nothing to release
        """Release resources. Idempotent."""

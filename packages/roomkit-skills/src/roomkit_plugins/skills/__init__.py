"""Skills for agents of RoomKit: folders with instructions, references, scripts and tools."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.skills.config import SkillsConfig as SkillsConfig
    from roomkit_plugins.skills.errors import SkillError as SkillError
    from roomkit_plugins.skills.errors import SkillNotFoundError as SkillNotFoundError
    from roomkit_plugins.skills.errors import SkillParseError as SkillParseError
    from roomkit_plugins.skills.errors import SkillValidationError as SkillValidationError
    from roomkit_plugins.skills.metadata import SkillMetadata as SkillMetadata
    from roomkit_plugins.skills.registry import SkillRegistry as SkillRegistry
    from roomkit_plugins.skills.scripts import ScriptExecutor as ScriptExecutor
    from roomkit_plugins.skills.scripts import ScriptResult as ScriptResult
    from roomkit_plugins.skills.skill import Skill as Skill
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "ScriptExecutor": "scripts",
            "ScriptResult": "scripts",
            "Skill": "skill",
            "SkillError": "errors",
            "SkillMetadata": "metadata",
            "SkillNotFoundError": "errors",
            "SkillParseError": "errors",
            "SkillRegistry": "registry",
            "SkillValidationError": "errors",
            "SkillsConfig": "config",
        },
    )

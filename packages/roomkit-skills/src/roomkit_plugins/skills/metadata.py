"""The head of a skill: what a model sees of it before it is activated.

The format is that of Agent Skills (agentskills.io), `SKILL.md`: YAML between two lines of `---`, then text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from roomkit.models.base import EMPTY, Record
from roomkit_plugins.skills.errors import SkillParseError, SkillValidationError

__all__ = ["SkillMetadata", "parsed"]

MAX_HEAD_CHARS = 16_384
MAX_HEAD_DEPTH = 8
_HEAD = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(?P<head>.*?)^---[ \t]*\r?$\n?(?P<body>.*)\Z", re.DOTALL | re.MULTILINE
)
_KNOWN = ("name", "description", "license", "compatibility", "allowed_tools")
_BETWEEN_TOOLS = re.compile(r"[\s,]+(?![^(]*\))")


class SkillMetadata(Record):
    """What a skill is and when to use it; `description` is all that a model knows before it activates one.

    `allowed_tools` are globs on the names of the agent's tools that are withheld until it is activated.
    """

    name: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    description: Annotated[str, Field(min_length=1, max_length=1024)]
    license: str | None = None
    compatibility: str | None = None
    allowed_tools: tuple[str, ...] = ()
    extra_metadata: Mapping[str, str] = EMPTY

    @field_validator("allowed_tools", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take a list, or one text with commas or spaces."""
        if value is None:
            return ()
        return tuple(filter(None, _BETWEEN_TOOLS.split(value.strip()))) if isinstance(value, str) else value

    @property
    def gated_tool_names(self) -> tuple[str, ...]:
        """The globs of the tools that come with the skill."""
        return self.allowed_tools


def parsed(text: str, where: str) -> tuple[SkillMetadata, str]:
    """Return the head and the instructions of a `SKILL.md`.

    Raises SkillParseError for a text without a head that is YAML, and SkillValidationError for a head that
    breaks a rule.
    """
    found = _HEAD.match(text)
    if found is None:
        raise SkillParseError(f"{where} has no head: it begins with a line of ---, YAML, and another one")
    head = _head_of(found["head"], where)
    fields = {key.replace("-", "_"): value for key, value in head.items()}
    known = {key: fields[key] for key in _KNOWN if fields.get(key) is not None}
    try:
        return SkillMetadata(**known, extra_metadata=_extra(fields)), found["body"].strip()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SkillValidationError(f"{where}: {place}: {first['msg']}") from error


def _extra(fields: Mapping[str, object]) -> dict[str, str]:
    inner = fields.get("metadata")
    others = {key: value for key, value in fields.items() if key not in (*_KNOWN, "metadata")}
    if isinstance(inner, dict):
        others |= inner
    return {str(key): str(value) for key, value in others.items()}


def _head_of(head: str, where: str) -> dict[str, object]:
    import yaml  # type: ignore[import-untyped]  # it has no types of its own

    if len(head) > MAX_HEAD_CHARS:
        raise SkillParseError(
            f"{where} has a head of {len(head)} characters; at most {MAX_HEAD_CHARS} are read"
        )
    try:
        for depth, token in _tokens(head):
            if isinstance(token, yaml.AliasToken):
                raise SkillParseError(f"{where} has a YAML alias in its head; write the value out")
            if depth > MAX_HEAD_DEPTH:
                raise SkillParseError(f"{where} has a head that is nested too deep")
        loaded: object = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, SkillParseError):
            raise
        raise SkillParseError(f"{where} has a head that is not YAML: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise SkillParseError(f"{where} has a head that is not a list of names and values")
    return loaded


def _tokens(head: str) -> Iterator[tuple[int, object]]:
    """Yield the tokens of YAML with their depth; they come one by one, so that nothing deep is read whole."""
    import yaml

    opening = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken)
    closing = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
    depth = 0
    for token in yaml.scan(head):
        if isinstance(token, (*opening, yaml.BlockMappingStartToken)):
            depth += 1
        elif isinstance(token, closing):
            depth -= 1
        yield depth, token

"""Tools of a model: how they are offered, chosen and called."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from roomkit.authoring.conversation import check_parameters, check_tools
from roomkit.models.ai import AITool
from roomkit.models.base import freeze
from roomkit.models.generation import AIContext
from roomkit.models.values import repaired
from roomkit_plugins.wire.halves import repaired_json
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["CallIds", "ToolNames", "arguments", "object_schema", "tool_choice"]


class ToolNames:
    """Tool names as an API takes them (letters, digits, `_` and `-`, up to `longest`), and back.

    With `letter_first` a name begins with a letter or `_`.
    """

    def __init__(self, longest: int, *, letter_first: bool = False) -> None:
        self._longest = longest
        self._unfit_start = r"^(?=[0-9-])" if letter_first else r"(?!)"
        self._ours: dict[str, str] = {}  # bound: the tools of one request
        self._theirs: dict[str, str] = {}  # bound: the tools of one request

    def to_wire(self, name: str) -> str:
        """Return the vendor's form of `name`, always the same and never that of another."""
        if name not in self._theirs:
            safe = re.sub(self._unfit_start, "_", re.sub(r"[^a-zA-Z0-9_-]", "_", name))[: self._longest]
            if safe != name or safe in self._ours:
                digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
                safe = f"{safe[: self._longest - 9]}_{digest}"
            self._theirs[name] = safe
            self._ours[safe] = name
        return self._theirs[name]

    def from_wire(self, name: str) -> str:
        """Return our name for what the model called."""
        return self._ours.get(name, name)


class CallIds:
    """Ids of tool calls as an API takes them, the same in every request.

    An id is another vendor's when a fallback provider is asked. `allowed` is the whole pattern of
    an id, whose length it bounds; any other id is replaced by a digest, of `letters` letters and digits alone
    if that is given.
    """

    def __init__(self, allowed: str, *, letters: int | None = None) -> None:
        self._allowed = re.compile(allowed)
        self._letters = letters

    def to_wire(self, call_id: str) -> str:
        """Return the vendor's form of `call_id`, never that of another."""
        if self._allowed.fullmatch(call_id):
            return call_id
        digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass"))
        if self._letters is None:
            return f"call_{digest.hexdigest()[:32]}"
        return re.sub(r"[^a-zA-Z0-9]", "", base64.b64encode(digest.digest()).decode())[: self._letters]


def object_schema(tool: AITool, origin: Origin) -> dict[str, Any]:
    """Return a tool's parameters as the JSON Schema of an object. Raises ProviderError for another."""
    check_parameters(tool, origin.provider)
    written = dict(tool.parameters)
    written.setdefault("type", "object")
    written.setdefault("properties", {})
    return written


def tool_choice(context: AIContext, names: ToolNames, origin: Origin) -> str | None:
    """Return `auto`, `none`, `required` or a tool's name on the wire; None to leave it unsaid.

    Raises ProviderError for tools that no API takes, and for a choice that those on offer do not allow.
    """
    check_tools(context, origin.provider)
    choice = context.tool_choice
    if choice is None or not context.tools:
        return None
    return choice if choice in ("auto", "none", "required") else names.to_wire(choice)


def arguments(given: object) -> tuple[dict[str, Any], str | None]:
    """Return a call's arguments, or what the model wrote instead and why that is none.

    `given` is an object, or JSON, which may hold surrogate halves; None and blank text are a call with
    nothing.
    """
    raw = repaired(given, keep_nul=True) if isinstance(given, str) else None
    try:
        if given is None or (raw is not None and not raw.strip()):
            return {}, None
        value = repaired_json(given if raw is None else json_value(raw, strict=True))
        if value is None:
            return {}, None
        if isinstance(value, dict):
            return dict(freeze(value)), None
        problem = f"the arguments are a JSON {type(value).__name__}, not an object"
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
    return {"raw": raw if raw is not None else repr(given)}, problem

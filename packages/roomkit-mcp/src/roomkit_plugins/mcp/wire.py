"""From what an MCP server says to our models: tools, and results of calls.

Model Context Protocol 2026-07-28 and 2025-11-25, "Tools".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from roomkit.models.ai import AIImagePart, AITool
from roomkit.models.tool import ToolResult

if TYPE_CHECKING:
    from mcp_types import CallToolResult, EmbeddedResource, Tool

__all__ = ["MAX_DESCRIPTION_CHARS", "MAX_IMAGES", "UnusableToolError", "result_of", "tool_of"]

MAX_DESCRIPTION_CHARS = 8_192
MAX_SCHEMA_CHARS = 65_536
MAX_SCHEMA_DEPTH = 32
MAX_IMAGES = 8
"""Images of one result that a model is shown."""
MAX_IMAGE_CHARS = 7_000_000
"""Length of an image in base64: about the 5 MB that vendors take."""


class UnusableToolError(ValueError):
    """A server's tool that cannot be offered to a model, and why."""


def tool_of(tool: Tool, name: str) -> AITool:
    """Return a server's tool under the name it is offered by. Raises UnusableToolError."""
    description = tool.description or tool.title or ""
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise UnusableToolError(
            f"its description has {len(description)} characters; at most {MAX_DESCRIPTION_CHARS} are offered"
        )
    _check_schema(tool.input_schema)
    try:
        return AITool(name=name, description=description, parameters=tool.input_schema)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UnusableToolError(f"{place}: {first['msg']}") from error


def _check_schema(schema: dict[str, Any]) -> None:
    if schema.get("type") != "object":
        raise UnusableToolError(f"its schema is of type {schema.get('type')!r:.80}, not an object")
    for depth, key, value in _walk(schema):
        if depth > MAX_SCHEMA_DEPTH:
            raise UnusableToolError(f"its schema is nested deeper than {MAX_SCHEMA_DEPTH} levels")
        if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
            raise UnusableToolError(f"its schema refers to {value!r:.80}; schemas are not fetched")
    length = len(json.dumps(schema))
    if length > MAX_SCHEMA_CHARS:
        raise UnusableToolError(f"its schema has {length} characters; at most {MAX_SCHEMA_CHARS} are offered")


def _walk(schema: dict[str, Any]) -> Iterator[tuple[int, str, object]]:
    """Yield the entries of all objects in a schema with their depth, as deep as is looked at."""
    waiting: list[tuple[int, object]] = [(0, schema)]  # bound: the schema
    while waiting:
        depth, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                yield depth, key, item
                waiting.append((depth + 1, item))
        elif isinstance(value, list):
            waiting += [(depth + 1, item) for item in value]


def result_of(result: CallToolResult) -> ToolResult:
    """Return what a model is given of a result: its texts, its images, notes for everything else."""
    texts: list[str] = []
    images: list[AIImagePart] = []
    for block in result.content:
        match block.type:
            case "text":
                texts.append(block.text)
            case "image":
                _take_image(block.data, block.mime_type, texts, images)
            case "audio":
                texts.append(f"[audio: {block.mime_type}]")
            case "resource_link":
                texts.append(f"[resource: {block.uri} ({block.name})]")
            case "resource":
                _take_resource(block, texts, images)
    if result.structured_content is not None and not texts and not images:
        texts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return ToolResult(text="\n\n".join(texts), images=tuple(images), is_error=result.is_error)


def _take_image(data: str, mime_type: str, texts: list[str], images: list[AIImagePart]) -> None:
    """Keep an image, or say in words that there was one."""
    if len(images) >= MAX_IMAGES:
        texts.append(f"[image: {mime_type}, not shown: only {MAX_IMAGES} are]")
    elif len(data) > MAX_IMAGE_CHARS:
        texts.append(f"[image: {mime_type}, not shown: too large]")
    else:
        images.append(AIImagePart(url=f"data:{mime_type};base64,{data}", mime_type=mime_type))


def _take_resource(block: EmbeddedResource, texts: list[str], images: list[AIImagePart]) -> None:
    resource = block.resource
    text: str | None = getattr(resource, "text", None)
    mime_type = resource.mime_type or "application/octet-stream"
    if text is not None:
        texts.append(text)
    elif mime_type.startswith("image/"):
        _take_image(getattr(resource, "blob", ""), mime_type, texts, images)
    else:
        texts.append(f"[file: {resource.uri} ({mime_type})]")

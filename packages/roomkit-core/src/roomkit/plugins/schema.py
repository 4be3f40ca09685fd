"""The JSON Schema of `roomkit.toml`, assembled from the installed plugins, for editors and checkers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from roomkit.models.options import KitOptions
from roomkit.plugins.components import Component, ComponentKind, ComponentState
from roomkit.plugins.config import NAMED_TABLES, SINGLE_TABLES
from roomkit.plugins.construction import config_model
from roomkit.plugins.errors import PluginBrokenError, describe

if TYPE_CHECKING:
    from roomkit.plugins.manager import PluginManager

type Schema = dict[str, object]

_REFERENCE: Schema = {"type": "string", "pattern": "^(env|file):", "description": "A reference to a value."}


def json_schema(manager: PluginManager) -> Schema:
    """Describe the configuration that the installed plugins understand (JSON Schema 2020-12).

    Imports every config model: not for a running loop. A plugin whose model cannot be imported is
    described by its name alone.
    """
    definitions: Schema = {}
    kit = KitOptions.model_json_schema(ref_template="#/$defs/kit.{model}")
    definitions |= {f"kit.{name}": definition for name, definition in kit.pop("$defs", {}).items()}
    tables: Schema = {"kit": kit}
    for table, kind in SINGLE_TABLES.items():
        tables[table] = _choice(manager, kind, definitions)
    for table in NAMED_TABLES:
        tables[table] = {
            "type": "object",
            "additionalProperties": _choice(manager, ComponentKind.CHANNEL, definitions),
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "roomkit.toml",
        "type": "object",
        "properties": tables,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _choice(manager: PluginManager, kind: ComponentKind, definitions: Schema) -> Schema:
    """Describe a table that holds one component of `kind`."""
    references = []
    for component in manager.components(kind):
        if component.state in (ComponentState.DECLARED, ComponentState.LOADED):
            if str(component) not in definitions:
                definitions[str(component)] = {}  # parts may name it again
                definitions[str(component)] = _table(manager, component, definitions)
            references.append({"$ref": f"#/$defs/{component}"})
    return {"oneOf": references} if references else {"not": {}, "description": f"No {kind} is installed."}


def _table(manager: PluginManager, component: Component, definitions: Schema) -> Schema:
    properties: Schema = {"plugin": {"enum": [component.name, *component.aliases]}}
    try:
        settings = _settings(component)
    except (PluginBrokenError, PydanticUserError) as error:
        about = f"Its settings cannot be described: {describe(error)}"
        return {"type": "object", "description": about, "properties": properties, "required": ["plugin"]}
    for name, definition in settings.get("$defs", {}).items():
        definitions[f"{component}.{name}"] = definition
    properties |= {name: _or_reference(field) for name, field in settings.get("properties", {}).items()}
    for part, kind in component.parts.items():
        named = {"type": "string", "description": f"The name of a {kind} that needs no settings."}
        properties[part] = {"anyOf": [named, _choice(manager, kind, definitions)]}
    return {
        "type": "object",
        "description": component.summary,
        "properties": properties,
        "required": ["plugin", *settings.get("required", [])],
        "additionalProperties": bool(settings.get("additionalProperties")),
    }


def _settings(component: Component) -> dict[str, Any]:
    model = config_model(component)
    if model is None:
        return {}
    template = f"#/$defs/{component}.{{model}}"
    return model.model_json_schema(ref_template=template, schema_generator=_Generator)


class _Generator(GenerateJsonSchema):
    """Leaves out, without a warning, a default that JSON cannot say."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base


def _or_reference(field: Mapping[str, object]) -> Schema:
    return dict(field) if field.get("type") == "string" else {"anyOf": [dict(field), _REFERENCE]}

"""The JSON Schema of `roomkit.toml`, assembled from the installed plugins, for editors and checkers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from roomkit.models.channel import ChannelBinding
from roomkit.models.options import KitOptions
from roomkit.plugins.components import PROFILES, SINGLE_TABLES, Component, ComponentKind, ComponentState
from roomkit.plugins.config import BINDING_FIELDS, SourceOptions
from roomkit.plugins.construction import config_model, imported_model
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
    channel = _choice(manager, ComponentKind.CHANNEL, definitions, {"binding": _binding(definitions)})
    for table in ("channels", "agents"):
        tables[table] = {"type": "object", "additionalProperties": channel}
    run: Schema = {"run": SourceOptions.model_json_schema()}
    source = _choice(manager, ComponentKind.SOURCE, definitions, run)
    tables["sources"] = {"type": "object", "additionalProperties": source}
    for table, reference in manager.tables().items():
        tables[table] = _own_table(table, reference, definitions)
    for option, kind in manager.options().items():
        tables[option] = _choice(manager, kind, definitions)
    names: Schema = {"type": "object", "propertyNames": {"enum": [*tables]}}
    tables[PROFILES] = {"type": "object", "additionalProperties": names}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "roomkit.toml",
        "type": "object",
        "properties": tables,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _binding(definitions: Schema) -> Schema:
    """Describe the defaults of a channel's bindings."""
    inner: Schema = {}
    whole = _described(ChannelBinding, "binding", inner)
    properties = whole["properties"]
    fields = {name: {**properties[name], "description": about} for name, about in BINDING_FIELDS.items()}
    for name in _named_in(fields, inner):
        definitions[name] = inner[name]
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _named_in(part: object, definitions: Schema) -> set[str]:
    """Return the definitions that a part of a schema refers to, and those that they refer to."""
    match part:
        case Mapping():
            named = {str(part["$ref"]).removeprefix("#/$defs/")} if "$ref" in part else set()
            inner = [_named_in(each, definitions) for each in (*part.values(), *map(definitions.get, named))]
            return named.union(*inner)
        case list():
            return set().union(*(_named_in(each, definitions) for each in part))
    return set()


def _own_table(name: str, reference: str, definitions: Schema) -> Schema:
    """Describe a plugin's own table."""
    try:
        model = imported_model(reference, f"the table {name!r}")
        settings = _described(model, f"table.{name}", definitions)
    except (PluginBrokenError, PydanticUserError) as error:
        return {"type": "object", "description": f"Its settings cannot be described: {describe(error)}"}
    fields = {name: _or_reference(field) for name, field in settings.get("properties", {}).items()}
    return {
        "type": "object",
        "properties": fields,
        "required": settings.get("required", []),
        "additionalProperties": bool(settings.get("additionalProperties")),
    }


def _choice(
    manager: PluginManager, kind: ComponentKind, definitions: Schema, more: Schema | None = None
) -> Schema:
    """Describe a table that holds one component of `kind`, and `more` keys that are the core's."""
    references = []
    for component in manager.components(kind):
        if component.state in (ComponentState.DECLARED, ComponentState.LOADED):
            if str(component) not in definitions:
                definitions[str(component)] = {}  # parts may name it again
                definitions[str(component)] = _table(manager, component, definitions, more or {})
            references.append({"$ref": f"#/$defs/{component}"})
    return {"oneOf": references} if references else {"not": {}, "description": f"No {kind} is installed."}


def _table(manager: PluginManager, component: Component, definitions: Schema, more: Schema) -> Schema:
    properties: Schema = {"plugin": {"enum": [component.name, *component.aliases]}}
    try:
        settings = _settings(component, definitions)
    except (PluginBrokenError, PydanticUserError) as error:
        about = f"Its settings cannot be described: {describe(error)}"
        return {"type": "object", "description": about, "properties": properties, "required": ["plugin"]}
    properties |= {name: _or_reference(field) for name, field in settings.get("properties", {}).items()}
    properties |= more
    for part, kind in component.parts.items():
        properties[part] = _part(manager, kind, definitions)
    for part, kind in component.part_lists.items():
        properties[part] = {"type": "array", "items": _part(manager, kind, definitions)}
    return {
        "type": "object",
        "description": component.summary,
        "properties": properties,
        "required": ["plugin", *settings.get("required", [])],
        "additionalProperties": bool(settings.get("additionalProperties")),
    }


def _part(manager: PluginManager, kind: ComponentKind, definitions: Schema) -> Schema:
    named = {"type": "string", "description": f"The name of a {kind} that needs no settings."}
    return {"anyOf": [named, _choice(manager, kind, definitions)]}


def _settings(component: Component, definitions: Schema) -> dict[str, Any]:
    model = config_model(component)
    return {} if model is None else _described(model, str(component), definitions)


def _described(model: type[BaseModel], owner: str, definitions: Schema) -> dict[str, Any]:
    """Return a model's schema, with what it refers to among the definitions of its owner."""
    settings = model.model_json_schema(ref_template=f"#/$defs/{owner}.{{model}}", schema_generator=_Generator)
    for name, definition in settings.get("$defs", {}).items():
        definitions[f"{owner}.{name}"] = definition
    return settings


class _Generator(GenerateJsonSchema):
    """Leaves out, without a warning, a default that JSON cannot say."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base


def _or_reference(field: Mapping[str, object]) -> Schema:
    return dict(field) if field.get("type") == "string" else {"anyOf": [dict(field), _REFERENCE]}

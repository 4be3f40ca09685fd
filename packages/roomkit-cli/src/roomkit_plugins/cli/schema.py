"""The JSON Schema of `roomkit.toml` with a description of every key, for the hints of an editor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAliasType, get_args

from pydantic import BaseModel

from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.options import KitOptions
from roomkit.plugins import ComponentState, PluginManager, json_schema
from roomkit.plugins.construction import config_model, imported_model
from roomkit.plugins.errors import PluginBrokenError
from roomkit_plugins.cli.settings import settings_of_model

__all__ = ["TABLES", "described_schema"]

TABLES: Mapping[str, str] = {
    "kit": "the options of the kit",
    "store": "where rooms, timelines and deliveries are kept; in memory without it",
    "locks": "what keeps two workers out of one room; those of the store without it",
    "realtime": "what carries typing, presence and wake-ups between workers; that of the store without it",
    "media": "where the files of events are kept; without it they stay in the events",
    "fetch": "what fetches URLs that come from outside",
    "telemetry": "where spans and metrics go; nowhere without it",
    "identity": "what says who a sender is; no sender is resolved without it",
    "router": "what finds the room of a message that names none; the kit's own without it",
    "channels": "channels, each registered under the id that its table is named by",
    "agents": "agents, which are channels too; `roomkit chat --agent ID` talks to one",
    "sources": "connections that bring messages in, each for the channel that its table is named by",
    "profiles": "tables laid over the others where a profile is asked for, as `[profiles.prod.store]`",
}
"""What each table of the file is for."""
_OWN_TABLES = {
    "binding": "defaults of the channel's bindings, where `attach_channel` gives no other",
    "run": "how the source is restarted, and how many messages it brings at once",
}
_PLUGIN = "the name of the component; its other keys are in this table too"


def described_schema(manager: PluginManager) -> dict[str, Any]:
    """Return the schema of the installed plugins, described by the docstrings of their config models."""
    schema: dict[str, Any] = json_schema(manager)
    for table, about in TABLES.items():
        _describe(schema["properties"][table], about)
    definitions = schema["$defs"]
    _describe_fields(schema["properties"]["kit"], "kit", KitOptions, definitions)
    for limits in (RateLimit, RetryPolicy):
        _describe_fields(definitions.get(f"binding.{limits.__name__}", {}), "binding", limits, definitions)
    for table, reference in manager.tables().items():
        _describe_own(schema["properties"][table], table, reference, definitions)
    for component in manager.components():
        table = definitions.get(str(component))
        if table is None or component.state not in (ComponentState.DECLARED, ComponentState.LOADED):
            continue
        _describe(table["properties"]["plugin"], _PLUGIN)
        for part, kind in component.parts.items():
            _describe(table["properties"].get(part, {}), f"its {kind}: a name, or a table with `plugin`")
        for part, kind in component.part_lists.items():
            about = f"its {kind} components: a list of names, or tables with `plugin`"
            _describe(table["properties"].get(part, {}), about)
        for key, about in _OWN_TABLES.items():
            _describe(table["properties"].get(key, {}), about)
        try:
            model = config_model(component)
        except PluginBrokenError:
            continue  # its table says so
        if model is not None:
            _describe_fields(table, str(component), model, definitions)
    return schema


def _describe_own(table: dict[str, Any], name: str, reference: str, definitions: Mapping[str, Any]) -> None:
    """Describe a plugin's own table."""
    _describe(table, f"the settings of the plugin that brings [{name}]")
    try:
        model = imported_model(reference, f"the table {name!r}")
    except PluginBrokenError:
        return  # its table says so
    _describe_fields(table, f"table.{name}", model, definitions)


def _describe_fields(
    table: Mapping[str, Any], prefix: str, model: type[BaseModel], definitions: Mapping[str, Any]
) -> None:
    for setting in settings_of_model(model):
        _describe(table.get("properties", {}).get(setting.name, {}), setting.description)
    for nested in _nested(model):
        _describe_fields(definitions.get(f"{prefix}.{nested.__name__}", {}), prefix, nested, definitions)


def _describe(field: dict[str, Any], about: str) -> None:
    if about:
        field.setdefault("description", about)


def _nested(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        yield from _models_in(field.annotation)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, TypeAliasType):
        yield from _models_in(annotation.__value__)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models_in(part)

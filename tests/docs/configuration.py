"""The reference page of `roomkit.toml`, made from the models that check it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import get_args, get_origin

from pydantic import BaseModel

from roomkit.models.options import KitOptions
from roomkit.plugins import PluginManager, default_manager
from roomkit.plugins.components import NAMED_TABLES, SINGLE_TABLES, Component, ComponentKind
from roomkit.plugins.config import BINDING_FIELDS, SourceOptions
from roomkit.plugins.construction import imported_model
from roomkit_plugins.cli.schema import TABLES
from roomkit_plugins.cli.settings import Setting, sample_of, settings_of, settings_of_model
from tools.source import Tree

_NOT_HERE = ("testing",)
"""Distributions whose components are for tests of programs, and take no settings."""
_INTRODUCTION = """\
`RoomKit.from_config("roomkit.toml")` builds a kit from a file; the `roomkit` command takes it from
`--config`, or from the folder where it is called. An unknown key, a value of the wrong type and a reference
that cannot be read are refused before anything is built, all problems together, each with its line.
`roomkit check` does only that. `roomkit config show` shows the settings in force, and `roomkit config why
KEY` where one comes from and what reads it. `roomkit plugins schema` writes the JSON Schema for your editor;
`roomkit plugins info NAME` shows what this page says, of the plugins you installed.
"""
_RULES = """\
Each but `[kit]` names its component by `plugin = "..."`; the other keys are the component's settings. A
setting that is a component itself, such as a channel's `provider`, is a name or a table with `plugin`; one
that is a list of components, such as `providers`, is a list of those. Any other table is a plugin's own, and
that plugin has to be installed.

```toml
[channels.support]
plugin = "sms"
providers = [{ plugin = "acme", token = "env:ACME_TOKEN" }, "backup"]

[channels.support.binding]
retry_policy = { max_retries = 5 }

[sources.support]
plugin = "mailbox"
run = { max_restart_attempts = 10 }
```

## References

`"env:NAME"` stands for the environment variable of that name, `"file:PATH"` for the content of a file,
relative to the configuration file and without its last newline. Give secrets that way; any setting may be
given so.

## Profiles

One file can say what differs between a laptop and a server. The tables of a profile are laid over the
others, key by key; lists are replaced, and a component that names another `plugin` replaces the one of the
file with all its settings.

```toml
[store]
plugin = "sqlite"
path = "rooms.db"

[profiles.prod.store]
plugin = "postgres"
dsn = "env:DATABASE_URL"

[profiles.prod.kit]
retention = "180d"
```

`RoomKit.from_config("roomkit.toml", profile="prod")`, `--profile prod` or the environment variable
`ROOMKIT_PROFILE` chooses one; without it the file counts as it stands. A name that is not there is refused.
References of profiles that are not chosen are not read.

The profile `prod` refuses settings that are fit for a laptop alone: secrets that are written into the file,
settings that make a deployment insecure, such as `server.insecure_routes`, and rooms in memory unless
`single_process` says that there is one worker. A config model of yours marks such a setting by
`json_schema_extra={"insecure": "why"}`.

"""


def configuration() -> Iterator[str]:
    """Yield the lines of the page."""
    manager = default_manager()
    components = _first_party(manager)
    channels = manager.components(ComponentKind.CHANNEL)
    yield "# The configuration file"
    yield ""
    yield from _INTRODUCTION.splitlines()
    yield ""
    yield "## Tables"
    yield ""
    yield "| table | what for |"
    yield "|---|---|"
    for table, about in TABLES.items():
        yield f"| `[{table}{'.ID' if table in NAMED_TABLES else ''}]` | {about} |"
    yield ""
    yield from _RULES.splitlines()
    yield "## `[kit]`"
    yield ""
    yield from _settings(settings_of_model(KitOptions))
    yield ""
    yield "## `[channels.ID.binding]`"
    yield ""
    yield "Fields of the binding by which the channel is attached to a room, where `attach_channel` gives no"
    yield "other. [`ChannelBinding`](../api/channel-models.md) has their types."
    yield ""
    yield "| key | |"
    yield "|---|---|"
    for name, about in BINDING_FIELDS.items():
        yield f"| `{name}` | {about} |"
    yield ""
    yield "## `[sources.ID.run]`"
    yield ""
    yield from _settings(settings_of_model(SourceOptions))
    yield from _tables_of_plugins(manager)
    for component in sorted(components, key=_order):
        yield ""
        yield f"## `{component}`"
        yield ""
        yield component.summary
        settings = settings_of(component)
        if (sample := sample_of(component, settings, channels)) is not None:
            yield ""
            yield "```toml"
            yield sample
            yield "```"
        if settings:
            yield ""
            yield from _settings(settings)


def _tables_of_plugins(manager: PluginManager) -> Iterator[str]:
    """Yield the sections of plugins' own tables, and of the models below them."""
    for table, reference in sorted(manager.tables().items()):
        yield from _table(table, imported_model(reference, f"the table {table!r}"))


def _table(table: str, model: type[BaseModel]) -> Iterator[str]:
    yield ""
    yield f"## `[{table}]`"
    yield ""
    yield (inspect.getdoc(model) or "").partition("\n\n")[0]
    yield ""
    yield from _settings(settings_of_model(model))
    for name, field in model.model_fields.items():
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and get_origin(field.annotation):
                yield from _table(f"{table}.{name}.NAME", inner)


def _first_party(manager: PluginManager) -> list[Component]:
    ours = {one.short for one in Tree().plugins} - {*_NOT_HERE}
    plugins = {"builtin", "core", *ours}
    return [each for each in manager.components() if each.plugin in plugins]


def _order(component: Component) -> tuple[int, str, str]:
    kinds = [*SINGLE_TABLES, "channel"]
    kind = component.kind.value
    return (kinds.index(kind) if kind in kinds else len(kinds), kind, component.name)


def _settings(settings: Sequence[Setting]) -> Iterator[str]:
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for each in settings:
        default = "required" if each.required else f"`{each.default}`" if each.default is not None else ""
        secret = " Secret." if each.secret else ""
        yield f"| `{each.name}` | {_cell(each.type)} | {default} | {_cell(each.description)}{secret} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

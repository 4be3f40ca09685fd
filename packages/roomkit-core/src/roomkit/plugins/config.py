"""`roomkit.toml`: read, checked, and turned into a plan.

    [kit]
    process_timeout = 20.0

    [store]
    plugin = "memory"

    [channels.support]
    plugin = "sms"

    [channels.support.provider]
    plugin = "twilio"
    auth_token = "env:TWILIO_AUTH_TOKEN"

    [agents.front]
    plugin = "ai"
    provider = { plugin = "anthropic", api_key = "env:ANTHROPIC_API_KEY" }
    system_prompt = "file:prompts/front.txt"

A value `env:NAME` is the environment variable of that name, `file:PATH` the content of that file
(relative to the configuration file, without its last newline). Both are read once, here, and travel
as `SecretStr`; other settings get the plain text.

What a plugin makes of its settings is checked when the plan is built, by the plugin's own model.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from roomkit._names import nearest
from roomkit.models.options import KitOptions
from roomkit.plugins.components import ComponentKind
from roomkit.plugins.errors import ConfigError

_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComponentPlan(_Plan):
    """One component to build: which, and with what settings."""

    plugin: str = Field(min_length=1, description="The component's name, as `roomkit plugins list` shows it.")
    settings: Mapping[str, object] = Field(default_factory=dict)


class KitPlan(_Plan):
    """What to build. Secrets in it do not show in its repr."""

    source: str = "configuration"
    kit: KitOptions = KitOptions()
    store: ComponentPlan | None = None
    locks: ComponentPlan | None = None
    realtime: ComponentPlan | None = None
    telemetry: ComponentPlan | None = None
    identity: ComponentPlan | None = None
    channels: Mapping[str, ComponentPlan] = Field(default_factory=dict)
    agents: Mapping[str, ComponentPlan] = Field(default_factory=dict)


SINGLE_TABLES: Mapping[str, ComponentKind] = {
    kind.value: kind
    for kind in (
        ComponentKind.STORE,
        ComponentKind.LOCKS,
        ComponentKind.REALTIME,
        ComponentKind.TELEMETRY,
        ComponentKind.IDENTITY,
    )
}
"""Tables that hold one component each."""

NAMED_TABLES = ("channels", "agents")
"""Tables that hold one component for each id."""


def load_config(source: str | os.PathLike[str] | Mapping[str, object]) -> KitPlan:
    """Read a configuration file, or a mapping of the same shape.

    Imports no plugin. Raises `ConfigError` with every problem found: a file or reference that cannot be
    read, an unknown key (with the nearest one that exists), a value of the wrong type.
    """
    if isinstance(source, Mapping):
        return _read("configuration", Path(), source)
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(
            "configuration", [f"it is {type(source).__name__}; give the path of a file, or a mapping"]
        )
    path = Path(source)
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: not a possible name of a file
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(str(path), [f"it cannot be read: {reason}"]) from error
    try:
        tables = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), [f"it is not TOML: {error}"]) from error
    return _read(str(path), path.parent, tables)


def _read(source: str, base: Path, tables: Mapping[str, object]) -> KitPlan:
    try:
        return _Reader(source, base).read(tables)
    except RecursionError as error:
        raise ConfigError(source, ["its tables are nested too deeply: flatten them"]) from error


def unknown_key(where: str, key: str, known: Iterator[str] | list[str]) -> str:
    """Report an unknown key."""
    names = sorted(known)
    close = nearest(key, names)
    hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(names) or 'nothing'}"
    return f"{where}{'.' if where else ''}{key} is unknown; {hint}"


def problems_of(error: ValidationError, where: str) -> list[str]:
    """Say each of pydantic's errors in one line, without the value: it may be a secret."""
    return [
        ".".join([where, *map(str, detail["loc"])]).strip(".") + f": {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]


class _Reader:
    """Reads one configuration and collects its problems."""

    def __init__(self, source: str, base: Path) -> None:
        self._source = source
        self._base = base
        self._problems: list[str] = []  # bound: one file

    def read(self, tables: Mapping[str, object]) -> KitPlan:
        plan: dict[str, object] = {}
        for key, table in tables.items():
            if key in SINGLE_TABLES:
                plan[key] = self._component(key, table)
            elif key in NAMED_TABLES:
                plan[key] = self._named(key, table)
            elif key == "kit":
                plan[key] = self._options(table)
            else:
                self._problems.append(unknown_key("", str(key), ["kit", *SINGLE_TABLES, *NAMED_TABLES]))
        if self._problems:
            raise ConfigError(self._source, self._problems)
        return KitPlan.model_validate({**plan, "source": self._source})

    def _options(self, table: object) -> KitOptions | None:
        if (options := self._table("kit", table)) is None:
            return None
        for key, value in options.items():
            if key not in KitOptions.model_fields:
                self._problems.append(unknown_key("kit", str(key), list(KitOptions.model_fields)))
            if isinstance(value, float) and math.isinf(value):  # a program may wait for ever, a file not
                self._problems.append(f"kit.{key}: Input should be a finite number")
        known = {
            key: value
            for key, value in options.items()
            if key in KitOptions.model_fields and value is not None
        }
        try:
            return KitOptions.model_validate(known)
        except ValidationError as error:
            self._problems += problems_of(error, "kit")
            return None

    def _named(self, where: str, table: object) -> dict[str, ComponentPlan | None]:
        named = self._table(where, table) or {}
        return {name: self._component(f"{where}.{name}", entry) for name, entry in named.items()}

    def _component(self, where: str, table: object) -> ComponentPlan | None:
        if (entries := self._table(where, table)) is None:
            return None
        settings = {key: self._value(f"{where}.{key}", value) for key, value in entries.items()}
        plugin = settings.pop("plugin", None)
        if not isinstance(plugin, str) or not plugin:
            self._problems.append(f'{where} names no component; add plugin = "..."')
            return None
        try:
            return ComponentPlan(plugin=plugin, settings=settings)
        except ValidationError as error:
            self._problems += problems_of(error, where)
            return None

    def _table(self, where: str, table: object) -> Mapping[str, object] | None:
        if isinstance(table, Mapping) and all(isinstance(key, str) for key in table):
            return table
        self._problems.append(f"{where} is {type(table).__name__}, not a table; write [{where}]")
        return None

    def _value(self, where: str, value: object) -> object:
        match value:
            case Mapping():
                return {key: self._value(f"{where}.{key}", inner) for key, inner in value.items()}
            case list():
                return [self._value(f"{where}[{index}]", inner) for index, inner in enumerate(value)]
            case str() if value.startswith("env:"):
                return self._environment(where, value)
            case str() if value.startswith("file:"):
                return self._file(where, value.removeprefix("file:"))
        return value

    def _environment(self, where: str, reference: str) -> SecretStr | None:
        found = _ENVIRONMENT.fullmatch(reference)
        if found is None:
            self._problems.append(f"{where}: {reference!r} names no environment variable; write env:NAME")
        elif (value := os.environ.get(found[1])) is None:
            self._problems.append(f"{where}: the environment variable {found[1]} is not set; set it")
        else:
            return SecretStr(value)
        return None

    def _file(self, where: str, name: str) -> SecretStr | None:
        path = self._base / name
        try:
            return SecretStr(path.read_text(encoding="utf-8").removesuffix("\n"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._problems.append(f"{where}: the file {str(path)!r} cannot be read: {reason}")
            return None

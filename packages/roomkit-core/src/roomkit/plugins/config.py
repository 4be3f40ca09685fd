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

    [channels.support.binding]
    retry_policy = { max_retries = 5 }

    [sources.support]
    plugin = "mailbox"
    run = { max_concurrent_emits = 4 }

    [agents.front]
    plugin = "ai"
    provider = { plugin = "anthropic", api_key = "env:ANTHROPIC_API_KEY" }
    system_prompt = "file:prompts/front.txt"

A value `env:NAME` is the environment variable of that name, `file:PATH` the content of that file
(relative to the configuration file, without its last newline). Both are read once, here, and travel
as `SecretStr`; other settings get the plain text.

`binding` are fields of the binding by which the channel is attached to a room, where the caller gives no
other. `run` are options of `attach_source`. A table that is not one of these is a plugin's own.

    [profiles.prod.store]
    plugin = "postgres"
    dsn = "env:DATABASE_URL"

The tables of a profile are laid over the others where that profile is asked for: key by key, but a component
that names another `plugin` than the file does replaces that component with all its settings.

What a plugin makes of its settings is checked when the plan is built, by the plugin's own model.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from roomkit._dataclasses import dataclass
from roomkit._names import nearest
from roomkit.models.channel import BINDING_DEFAULTS, binding_defaults
from roomkit.models.options import Count, KitOptions, Seconds
from roomkit.plugins.components import PROFILES, SINGLE_TABLES
from roomkit.plugins.errors import ConfigError
from roomkit.plugins.positions import ConfigText
from roomkit.plugins.production import PRODUCTION, refused_settings

PROFILE_VARIABLE = "ROOMKIT_PROFILE"
"""The environment variable that names the profile of a file, where the caller names none."""

_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComponentPlan(_Plan):
    """One component to build: which, and with what settings."""

    plugin: str = Field(min_length=1, description="The component's name, as `roomkit plugins list` shows it.")
    settings: Mapping[str, object] = Field(default_factory=dict)


class SourceOptions(_Plan):
    """How `attach_source` runs a source; times are in seconds."""

    auto_restart: bool = Field(True, strict=True, description="Whether a source that broke is started again.")
    restart_delay: Seconds = Field(5.0, description="The first delay before a restart; it doubles.")
    max_restart_delay: Seconds = Field(300.0, description="The longest delay before a restart.")
    max_restart_attempts: Count | None = Field(
        None, description="How often a source that brings nothing is restarted; no limit by default."
    )
    max_concurrent_emits: Count | None = Field(
        10, description="How many messages may be taken in beside each other."
    )
    single: bool = Field(False, strict=True, description="Whether one worker of all runs it.")


BINDING_FIELDS: Mapping[str, str] = {
    "access": "What the channel may do in a room.",
    "visibility": "Who sees what the channel says.",
    "direction": "Which ways events may pass.",
    "muted": "Whether the channel may listen but not speak.",
    "rate_limit": "How often the channel may send, over all its rooms with this limit.",
    "recipient_rate_limit": "How often it may send to one room.",
    "retry_policy": "How its deliveries are retried.",
    "length_policy": "What happens to text that is too long.",
    "double_text": "What happens to messages that come while an agent is at work.",
    "fold_seconds": "How long an agent waits for more messages, where it folds them.",
    "judge_streams": "Whether an answer is shown only once the whole of it is judged.",
    "metadata": "Any keys, such as the sending number.",
    "fallback": "The channel of the room that an event goes to if its delivery fails.",
    "fallback_after": "Seconds without a receipt of delivery after which it goes there, too.",
}
"""What each key of a channel's table `binding` is for."""


class SourcePlan(ComponentPlan):
    """A source to build, and how to run it."""

    run: SourceOptions = SourceOptions()


class KitPlan(_Plan):
    """What to build. Secrets in it do not show in its repr.

    `bindings` are the binding defaults of channels, `tables` the tables that are not the core's. `problems`
    are those of parts that were omitted, from `read_config`.
    """

    source: str = "configuration"
    written: ConfigText | None = Field(None, repr=False, exclude=True)
    profile: str | None = None
    kit: KitOptions = KitOptions()
    store: ComponentPlan | None = None
    locks: ComponentPlan | None = None
    realtime: ComponentPlan | None = None
    telemetry: ComponentPlan | None = None
    identity: ComponentPlan | None = None
    router: ComponentPlan | None = None
    media: ComponentPlan | None = None
    fetch: ComponentPlan | None = None
    channels: Mapping[str, ComponentPlan] = Field(default_factory=dict)
    agents: Mapping[str, ComponentPlan] = Field(default_factory=dict)
    sources: Mapping[str, SourcePlan] = Field(default_factory=dict)
    bindings: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    tables: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def error(self, problems: Sequence[str]) -> ConfigError:
        """Return the error that lists this configuration's problems, each with its line."""
        written = self.written
        return ConfigError(
            self.source, problems, () if written is None else map(written.line_of_problem, problems)
        )


@dataclass(frozen=True, slots=True)
class ConfigTables:
    """The tables of a configuration as they are written: its profile laid over them, references as they are.

    `written` is the file's text, None for a mapping; `base` is the folder that files are looked for in.
    """

    source: str
    tables: Mapping[str, object] = field(repr=False)
    base: Path = Path()
    written: ConfigText | None = None
    profile: str | None = None


def load_config(
    source: str | os.PathLike[str] | Mapping[str, object], *, profile: str | None = None
) -> KitPlan:
    """Read a configuration file, or a mapping of the same shape.

    `profile` names the tables of `profiles` that are laid over the others; for a file it is by default what
    the environment variable ROOMKIT_PROFILE says, if it is set.

    Imports no plugin. Raises `ConfigError` with every problem found: a file or reference that cannot be
    read, an unknown key or profile (with the nearest one that exists), a value of the wrong type. Whether a
    plugin declares a table that is not the core's is known when the plan is built.
    """
    plan = read_config(source, profile=profile)
    if plan.problems:
        raise plan.error(plan.problems)
    return plan


def read_config(
    source: str | os.PathLike[str] | Mapping[str, object], *, profile: str | None = None
) -> KitPlan:
    """Do `load_config`, but leave out wrong parts and list them in `problems`, for callers who find more.

    Raises `ConfigError` for a file that cannot be read as a whole.
    """
    config = read_tables(source, profile=profile)
    try:
        return _Reader(config).read(config.tables)
    except RecursionError as error:
        raise ConfigError(config.source, ["its tables are nested too deeply: flatten them"]) from error


def read_tables(
    source: str | os.PathLike[str] | Mapping[str, object], *, profile: str | None = None
) -> ConfigTables:
    """Read a configuration without checking what it says, for callers who show it.

    Raises `ConfigError` for a file that cannot be read as a whole, and for an unknown profile.
    """
    if isinstance(source, Mapping):
        return _laid_over(ConfigTables("configuration", source), profile)
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
    profile = profile if profile is not None else os.environ.get(PROFILE_VARIABLE) or None
    config = ConfigTables(str(path), tables, path.parent, ConfigText(text.decode("utf-8"), profile))
    return _laid_over(config, profile)


def _laid_over(config: ConfigTables, profile: str | None) -> ConfigTables:
    """Lay the tables of a profile over the others. Raises ConfigError for one that is not there."""
    tables = {key: table for key, table in config.tables.items() if key != PROFILES}
    profiles = config.tables.get(PROFILES, {})
    if not isinstance(profiles, Mapping):
        raise ConfigError(config.source, [f"{PROFILES} is {type(profiles).__name__}, not a table of tables"])
    if profile is None:
        return replace(config, tables=tables)
    if not isinstance(over := profiles.get(profile), Mapping):
        raise ConfigError(config.source, [unknown_key(PROFILES, profile, [*map(str, profiles)])])
    if PROFILES in over:
        where = f"{PROFILES}.{profile}.{PROFILES}"
        raise ConfigError(
            config.source, [f"{where}: a profile has no profiles; write them beside {profile!r}"]
        )
    try:
        return replace(config, tables=_overlaid(tables, over), profile=profile)
    except RecursionError as error:
        raise ConfigError(config.source, ["its tables are nested too deeply: flatten them"]) from error


def _overlaid(table: Mapping[str, object], over: Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(over.get("plugin"), str) and over["plugin"] != table.get("plugin"):
        return over  # the settings of another component
    return {**table, **{key: _overlaid_value(table.get(key), value) for key, value in over.items()}}


def _overlaid_value(value: object, over: object) -> object:
    return _overlaid(value, over) if isinstance(value, Mapping) and isinstance(over, Mapping) else over


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


def validated[T: BaseModel](model: type[T], settings: Mapping[str, object]) -> T:
    """Validate settings; where a reference stands for a plain setting, validate its text."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        secret = [detail["loc"] for detail in error.errors() if isinstance(detail["input"], SecretStr)]
        if not secret:
            raise
    return model.model_validate(_revealed(settings, (), secret))


def _revealed(value: object, place: tuple[int | str, ...], secret: list[tuple[int | str, ...]]) -> object:
    match value:
        case SecretStr() if place in secret:
            return value.get_secret_value()
        case Mapping():
            return {key: _revealed(inner, (*place, key), secret) for key, inner in value.items()}
        case list():
            return [_revealed(inner, (*place, index), secret) for index, inner in enumerate(value)]
    return value


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


class _Reader:
    """Reads one configuration and collects its problems."""

    def __init__(self, config: ConfigTables) -> None:
        self._config = config
        self._problems: list[str] = []  # bound: one file
        self._bindings: dict[str, Mapping[str, object]] = {}  # bound: one file

    def read(self, tables: Mapping[str, object]) -> KitPlan:
        plan: dict[str, object] = {}
        others: dict[str, object] = {}
        for key, table in tables.items():
            if key in SINGLE_TABLES:
                plan[key] = self._component(key, table)
            elif key in ("channels", "agents"):
                plan[key] = self._channels(key, table)
            elif key == "sources":
                plan[key] = self._sources(table)
            elif key == "kit":
                plan[key] = self._options(table) or KitOptions()
            elif (entries := self._table(str(key), table)) is not None:
                others[key] = {name: self._value(f"{key}.{name}", value) for name, value in entries.items()}
        self._check_ids(tables)
        plan |= {"bindings": self._bindings, "tables": others, "problems": tuple(self._problems)}
        plan |= {"source": self._config.source, "written": self._config.written}
        return KitPlan.model_validate({**plan, "profile": self._config.profile})

    def _check_ids(self, tables: Mapping[str, object]) -> None:
        """Report sources of channels that are not in the file."""
        named = [tables.get(key) for key in ("channels", "agents")]
        ids = [name for table in named if isinstance(table, Mapping) for name in table]
        sources = tables.get("sources")
        for name in sources if isinstance(sources, Mapping) else ():
            if name not in ids:
                self._problems.append(f"{unknown_key('sources', str(name), ids)}: name a channel of the file")

    def _options(self, table: object) -> KitOptions | None:
        if (entries := self._table("kit", table)) is None:
            return None
        options = {key: self._value(f"kit.{key}", value) for key, value in entries.items()}
        if self._config.profile == PRODUCTION:
            in_file = self._config.written is not None
            self._problems += refused_settings(KitOptions, options, "kit", in_file=in_file)
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
            return validated(KitOptions, known)
        except ValidationError as error:
            self._problems += problems_of(error, "kit")
            return None

    def _channels(self, where: str, table: object) -> dict[str, ComponentPlan]:
        plans: dict[str, ComponentPlan] = {}
        for name, entry in (self._table(where, table) or {}).items():
            at = f"{where}.{name}"
            if isinstance(entry, Mapping) and "binding" in entry:
                self._binding(f"{at}.binding", name, entry["binding"])
                entry = {key: value for key, value in entry.items() if key != "binding"}
            if (plan := self._component(at, entry)) is not None:
                plans[name] = plan
        return plans

    def _binding(self, where: str, channel_id: str, table: object) -> None:
        """Check the defaults of a channel's bindings as a binding."""
        if (entries := self._table(where, table)) is None:
            return
        fields = {key: _plain(self._value(f"{where}.{key}", value)) for key, value in entries.items()}
        known = [*BINDING_DEFAULTS]
        self._problems += [unknown_key(where, key, known) for key in fields if key not in known]
        try:
            fields = {key: value for key, value in fields.items() if key in known}
            self._bindings[channel_id] = binding_defaults(channel_id, fields)
        except ValidationError as error:
            self._problems += problems_of(error, where)

    def _sources(self, table: object) -> dict[str, SourcePlan]:
        plans: dict[str, SourcePlan] = {}
        for name, entry in (self._table("sources", table) or {}).items():
            at, run = f"sources.{name}", SourceOptions()
            if isinstance(entry, Mapping) and "run" in entry:
                run = self._run(f"{at}.run", entry["run"])
                entry = {key: value for key, value in entry.items() if key != "run"}
            if (plan := self._component(at, entry)) is not None:
                plans[name] = SourcePlan(plugin=plan.plugin, settings=plan.settings, run=run)
        return plans

    def _run(self, where: str, table: object) -> SourceOptions:
        given = self._table(where, table) or {}
        entries = {key: self._value(f"{where}.{key}", value) for key, value in given.items()}
        known = list(SourceOptions.model_fields)
        self._problems += [unknown_key(where, key, known) for key in entries if key not in known]
        try:
            return validated(SourceOptions, {key: entries[key] for key in entries if key in known})
        except ValidationError as error:
            self._problems += problems_of(error, where)
            return SourceOptions()

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
        path = self._config.base / name
        try:
            return SecretStr(path.read_text(encoding="utf-8").removesuffix("\n"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._problems.append(f"{where}: the file {str(path)!r} cannot be read: {reason}")
            return None

"""From a plan to objects: resolve and check everything first, build only if all is well."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from roomkit._dataclasses import dataclass
from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomKitError
from roomkit.abc.identity import IdentityResolver
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.media import MediaStore
from roomkit.abc.realtime import RealtimeBackend
from roomkit.abc.router import InboundRoomRouter
from roomkit.abc.services.fetch import GuardedFetch
from roomkit.abc.source import SourceProvider
from roomkit.abc.store import ConversationStore
from roomkit.abc.telemetry import TelemetryProvider
from roomkit.memory.store import InMemoryStore
from roomkit.models.options import KitOptions
from roomkit.models.vocabulary import about
from roomkit.plugins.absence import absent_table
from roomkit.plugins.components import SINGLE_TABLES, Component, ComponentKind
from roomkit.plugins.config import (
    ComponentPlan,
    KitPlan,
    SourceOptions,
    SourcePlan,
    problems_of,
    unknown_key,
    validated,
)
from roomkit.plugins.errors import ConfigError, PluginBrokenError, PluginError, describe
from roomkit.plugins.production import PRODUCTION, refused_settings
from roomkit.plugins.references import resolve

if TYPE_CHECKING:
    from roomkit.plugins.manager import PluginManager


@dataclass(slots=True)
class KitParts:
    """What a plan was built into; `None` means the kit's default."""

    options: KitOptions
    store: ConversationStore | None = None
    locks: RoomLockManager | None = None
    realtime: RealtimeBackend | None = None
    telemetry: TelemetryProvider | None = None
    identity: IdentityResolver | None = None
    router: InboundRoomRouter | None = None
    media: MediaStore | None = None
    fetch: GuardedFetch | None = None
    channels: dict[str, Channel] = field(default_factory=dict)  # bound: the configuration
    agents: dict[str, Channel] = field(default_factory=dict)  # bound: the configuration
    sources: Mapping[str, tuple[SourceProvider, SourceOptions]] = field(default_factory=dict)
    bindings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    tables: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A component that is imported and whose settings are valid: all that is left is to build it."""

    component: Component
    factory: Callable[..., Any]
    arguments: Mapping[str, object]
    parts: Mapping[str, Blueprint]
    part_lists: Mapping[str, Sequence[Blueprint]] = field(default_factory=dict)


class Drawing:
    """Draws blueprints, and collects their problems. Imports: not for a running loop."""

    def __init__(self, manager: PluginManager, plan: KitPlan | None = None) -> None:
        self._manager = manager
        self._problems = [] if plan is None else [*plan.problems]  # bound: one configuration
        self._cause: PluginError | None = None
        self._in_production = plan is not None and plan.profile == PRODUCTION
        self._in_file = plan is not None and plan.written is not None

    def component(
        self, kind: ComponentKind | str, name: str, settings: Mapping[str, object], *, where: str
    ) -> Blueprint | None:
        """Draw one component and its parts; `None` if something is wrong with it."""
        before = len(self._problems)
        try:
            component = self._manager.find(kind, name)
            factory = self._manager.get(kind, name)
        except PluginError as error:
            self._problems.append(f"{where}: {error}")
            self._cause = self._cause or error
            return None
        parts = {
            part: self._part(component.parts[part], settings[part], f"{where}.{part}")
            for part in component.parts
            if part in settings
        }
        lists = {
            part: self._parts(component.part_lists[part], settings[part], f"{where}.{part}")
            for part in component.part_lists
            if part in settings
        }
        own = {key: value for key, value in settings.items() if key not in parts and key not in lists}
        arguments = self._arguments(component, factory, own, where)
        if len(self._problems) > before:
            return None
        drawn = {k: v for k, v in parts.items() if v is not None}
        return Blueprint(component, factory, arguments, drawn, lists)

    def required(self, kind: ComponentKind | str, name: str, settings: Mapping[str, object]) -> Blueprint:
        """Draw one component on its own. Raises `ConfigError`, or what finding and importing it raises."""
        self._manager.get(kind, name)
        where = f"{kind}:{name}"
        blueprint = self.component(kind, name, settings, where=where)
        if blueprint is None:
            raise ConfigError(where, self._problems) from self._cause
        return blueprint

    def plan(self, kind: ComponentKind, plan: ComponentPlan | None, *, where: str) -> Blueprint | None:
        """Draw what a plan names, if it names something."""
        return None if plan is None else self.component(kind, plan.plugin, plan.settings, where=where)

    def channels(self, where: str, plans: Mapping[str, ComponentPlan]) -> dict[str, Blueprint]:
        """Draw the channels of a table, by their ids."""
        drawn = {
            channel_id: self.plan(ComponentKind.CHANNEL, plan, where=f"{where}.{channel_id}")
            for channel_id, plan in plans.items()
        }
        return {channel_id: blueprint for channel_id, blueprint in drawn.items() if blueprint is not None}

    def sources(self, plans: Mapping[str, SourcePlan]) -> dict[str, Blueprint]:
        """Draw the sources, by the ids of their channels."""
        drawn = {
            channel_id: self.plan(ComponentKind.SOURCE, plan, where=f"sources.{channel_id}")
            for channel_id, plan in plans.items()
        }
        return {channel_id: blueprint for channel_id, blueprint in drawn.items() if blueprint is not None}

    def tables(self, given: Mapping[str, object]) -> dict[str, object]:
        """Validate plugins' own tables: mappings, or models that are made already.

        An option of a plugin is drawn as its blueprint, or is a component that is made already.
        """
        declared, options = self._manager.tables(), self._manager.options()
        made: dict[str, object] = {}
        for name, table in given.items():
            if name in options:
                made[name] = self._option(name, table, options[name])
            elif name not in declared:
                self._problems.append(absent_table(name, [*declared, *options]))
            elif isinstance(table, Mapping):
                if (model := self._table(name, table, declared[name])) is not None:
                    made[name] = model
            elif isinstance(table, BaseModel):
                made[name] = table
            else:
                self._problems.append(f"{name} is {type(table).__name__}, not a table; write [{name}]")
        return made

    def _option(self, name: str, value: object, kind: ComponentKind) -> object:
        if isinstance(value, Mapping | str):
            return self._part(kind, value, name)
        try:
            _check_contract(kind, value)
        except TypeError as error:
            self._problems.append(f"{name}: {error}")
        return value

    def _table(self, name: str, table: Mapping[str, object], reference: str) -> BaseModel | None:
        try:
            model = imported_model(reference, f"the table {name!r}")
        except PluginBrokenError as error:
            self._problems.append(f"{name}: {error}")
            self._cause = self._cause or error
            return None
        return self._configured(model, table, name, ())

    def store(self, plan: KitPlan) -> None:
        """Refuse rooms in memory in production, where they would end with their process."""
        named = "memory" if plan.store is None else plan.store.plugin
        if self._in_production and named == "memory" and not plan.kit.single_process:
            self._problems.append(
                f"store: the profile {PRODUCTION!r} refuses rooms in memory, which end with their process "
                'and no other worker sees: add a [store] with plugin = "postgres" or "sqlite", or say '
                "single_process = true in [kit]"
            )

    def check(self, plan: KitPlan) -> None:
        """Raise `ConfigError` if anything was wrong with what a plan names."""
        if self._problems:
            raise plan.error(self._problems) from self._cause

    def _part(self, kind: ComponentKind, value: object, where: str) -> Blueprint | None:
        if isinstance(value, str):
            return self.component(kind, value, {}, where=where)
        if isinstance(value, Mapping) and isinstance(plugin := value.get("plugin"), str):
            rest = {key: inner for key, inner in value.items() if key != "plugin"}
            return self.component(kind, plugin, rest, where=where)
        self._problems.append(f'{where} names no {kind}; write {{ plugin = "...", ... }}')
        return None

    def _parts(self, kind: ComponentKind, value: object, where: str) -> list[Blueprint]:
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            self._problems.append(f'{where} is not a list; write [{{ plugin = "...", ... }}, ...]')
            return []
        drawn = [self._part(kind, each, f"{where}[{index}]") for index, each in enumerate(value)]
        return [blueprint for blueprint in drawn if blueprint is not None]

    def _arguments(
        self, component: Component, factory: Callable[..., Any], settings: dict[str, object], where: str
    ) -> dict[str, object]:
        parts = [*component.parts, *component.part_lists]
        if component.config is None:
            self._problems += [unknown_key(where, key, parts) for key in settings]
            return {}
        model = self._model(component, where)
        config = None if model is None else self._configured(model, settings, where, parts)
        if config is None:
            return {}
        signature = _signature(factory)
        if signature is not None and "config" in signature.parameters:
            return {"config": config}
        return {name: getattr(config, name) for name in type(config).model_fields}

    def _configured(
        self, model: type[BaseModel], settings: Mapping[str, object], where: str, parts: Iterable[str]
    ) -> BaseModel | None:
        """Validate settings; report each unknown key and each wrong value."""
        unknown = _unknown_keys(model, settings, parts)
        self._problems += [unknown_key(where, key, known) for key, known in unknown.items()]
        if self._in_production:
            self._problems += refused_settings(model, settings, where, in_file=self._in_file)
        try:
            return validated(model, {key: settings[key] for key in settings if key not in unknown})
        except ValidationError as error:
            self._problems += problems_of(error, where)
            return None

    def _model(self, component: Component, where: str) -> type[BaseModel] | None:
        try:
            return config_model(component)
        except PluginBrokenError as error:
            self._problems.append(f"{where}: {error}")
            self._cause = self._cause or error
            return None


def _check_contract(kind: ComponentKind, made: object) -> None:
    """Refuse a component that is not of the contract which its kind was declared with. Raises TypeError."""
    reference = about(ComponentKind, kind).get("contract")
    if not isinstance(reference, str):
        return
    contract = resolve(reference)
    if isinstance(contract, type) and not isinstance(made, contract):
        raise TypeError(f"it is a {type(made).__name__}, which is no {reference}")


async def plugin_settings(tables: Mapping[str, object], manager: PluginManager) -> Mapping[str, object]:
    """Return plugins' own tables as their models, and their options as components.

    Raises `ConfigError` with everything that is wrong, and `PluginBrokenError` if a constructor fails.
    """

    def check() -> Mapping[str, object]:
        drawing = Drawing(manager)
        made = drawing.tables(tables)
        drawing.check(KitPlan(source="tables"))
        return _constructed(made)

    return await asyncio.to_thread(check) if tables else {}


async def build_components(plan: KitPlan, manager: PluginManager, *, has_store: bool = False) -> KitParts:
    """Build everything a plan names; `has_store` says that the kit is given a store that is made already.

    All is imported, validated and constructed in a worker thread, so that no SDK stops the loop.
    Raises `ConfigError` with everything that is wrong, before anything is constructed, and
    `PluginBrokenError` if a constructor fails.
    """
    return await asyncio.to_thread(_build, plan, manager, has_store)


def config_model(component: Component) -> type[BaseModel] | None:
    """Import a component's config model. Raises `PluginBrokenError` if there is none where it says."""
    if component.config is None:
        return None
    return imported_model(component.config, f"{component}, from plugin {component.plugin!r},")


def imported_model(reference: str, owner: str) -> type[BaseModel]:
    """Import the config model of a component or table. Raises `PluginBrokenError`."""
    try:
        model = resolve(reference)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{reference} is not a pydantic model")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginBrokenError(f"the config model of {owner} cannot be loaded: {describe(error)}") from error
    return model


def construct(blueprint: Blueprint, **wiring: object) -> object:
    """Build a component, its parts first. Raises `PluginBrokenError` if a constructor fails."""
    parts = {name: construct(part) for name, part in blueprint.parts.items()}
    lists = {name: [construct(part) for part in parts] for name, parts in blueprint.part_lists.items()}
    arguments = {**blueprint.arguments, **parts, **lists, **wiring}
    component = blueprint.component
    try:
        if (signature := _signature(blueprint.factory)) is not None:
            signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(str(component), [f"{blueprint.factory.__name__}: {error}"]) from error
    try:
        made = blueprint.factory(**arguments)
        _check_contract(component.kind, made)
        return made
    except (RoomKitError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginBrokenError(
            f"{component} of plugin {component.plugin!r} cannot be built: {describe(error)}"
        ) from error


def _constructed(tables: Mapping[str, object]) -> dict[str, object]:
    """Return tables with the components that are still to be built."""
    return {name: construct(made) if isinstance(made, Blueprint) else made for name, made in tables.items()}


async def check_components(plan: KitPlan, manager: PluginManager) -> Mapping[str, Blueprint]:
    """Import and validate everything a plan names, and construct nothing.

    Returns what would be built by its key in the file, a component before its parts: `channels.sms`,
    `channels.sms.provider`. Raises `ConfigError` with everything that is wrong.
    """
    drawn = await asyncio.to_thread(_drawn, plan, manager, False)
    named: dict[str, Mapping[str, object]] = {
        "channels": drawn.channels,
        "agents": drawn.agents,
        "sources": drawn.sources,
    }
    tables: dict[str, object] = {**drawn.singles, **drawn.tables}
    for table, entries in named.items():
        tables |= {f"{table}.{key}": entry for key, entry in entries.items()}
    return dict(_with_parts(tables))


def _with_parts(tables: Mapping[str, object]) -> Iterator[tuple[str, Blueprint]]:
    for key, made in tables.items():
        if isinstance(made, Blueprint):
            yield key, made
            parts: dict[str, object] = {f"{key}.{name}": part for name, part in made.parts.items()}
            for name, several in made.part_lists.items():
                parts |= {f"{key}.{name}[{index}]": part for index, part in enumerate(several)}
            yield from _with_parts(parts)


@dataclass(frozen=True, slots=True)
class _Blueprints:
    """Everything a plan names, drawn; `singles` are by their tables."""

    singles: Mapping[str, Blueprint | None]
    channels: Mapping[str, Blueprint]
    agents: Mapping[str, Blueprint]
    sources: Mapping[str, Blueprint]
    tables: Mapping[str, object]


def _drawn(plan: KitPlan, manager: PluginManager, has_store: bool) -> _Blueprints:
    drawing = Drawing(manager, plan)
    if not has_store:
        drawing.store(plan)
    drawn = _Blueprints(
        singles={
            table: drawing.plan(kind, getattr(plan, table), where=table)
            for table, kind in SINGLE_TABLES.items()
        },
        channels=drawing.channels("channels", plan.channels),
        agents=drawing.channels("agents", plan.agents),
        sources=drawing.sources(plan.sources),
        tables=drawing.tables(plan.tables),
    )
    drawing.check(plan)
    return drawn


def _build(plan: KitPlan, manager: PluginManager, has_store: bool) -> KitParts:
    drawn = _drawn(plan, manager, has_store)
    singles = drawn.singles
    takes_store = _takes_store(singles["router"])
    store = _built(singles["store"], ConversationStore)
    if store is None and takes_store:
        store = InMemoryStore()
    return KitParts(
        options=plan.kit,
        store=store,
        locks=_built(singles["locks"], RoomLockManager),
        realtime=_built(singles["realtime"], RealtimeBackend),
        telemetry=_built(singles["telemetry"], TelemetryProvider),
        identity=_built(singles["identity"], IdentityResolver),
        router=_built(singles["router"], InboundRoomRouter, **({"store": store} if takes_store else {})),
        media=_built(singles["media"], MediaStore),
        fetch=_built(singles["fetch"], GuardedFetch),
        channels=_built_channels(drawn.channels),
        agents=_built_channels(drawn.agents),
        sources={
            channel_id: (source, plan.sources[channel_id].run)
            for channel_id, blueprint in drawn.sources.items()
            if (source := _built(blueprint, SourceProvider)) is not None
        },
        bindings=plan.bindings,
        tables=_constructed(drawn.tables),
    )


def _takes_store(router: Blueprint | None) -> bool:
    """Return whether a router looks into the store, and is to be given the kit's."""
    signature = None if router is None else _signature(router.factory)
    return signature is not None and "store" in signature.parameters


def _built_channels(blueprints: Mapping[str, Blueprint]) -> dict[str, Channel]:
    return {
        channel_id: channel
        for channel_id, blueprint in blueprints.items()
        if (channel := _built(blueprint, Channel, channel_id=channel_id)) is not None
    }


def _built[T](blueprint: Blueprint | None, role: type[T], **wiring: object) -> T | None:
    if blueprint is None:
        return None
    built = construct(blueprint, **wiring)
    if not isinstance(built, role):
        raise PluginBrokenError(
            f"{blueprint.component} of plugin {blueprint.component.plugin!r} built a "
            f"{type(built).__name__}, which is no {role.__name__}"
        )
    return built


def _signature(factory: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(factory)
    except ValueError:  # some classes written in C have none
        return None


def _unknown_keys(
    model: type[BaseModel], settings: Mapping[str, object], parts: Iterable[str]
) -> dict[str, list[str]]:
    if model.model_config.get("extra") == "allow":
        return {}
    names = {alias for name, field in model.model_fields.items() for alias in (name, field.alias) if alias}
    known = [*names, *parts]
    return {key: known for key in settings if key not in names}

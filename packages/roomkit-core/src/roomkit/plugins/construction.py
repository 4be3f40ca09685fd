"""From a plan to objects: resolve and check everything first, build only if all is well."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr, ValidationError

from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomKitError
from roomkit.abc.identity import IdentityResolver
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit.abc.store import ConversationStore
from roomkit.abc.telemetry import TelemetryProvider
from roomkit.models.options import KitOptions
from roomkit.plugins.components import Component, ComponentKind
from roomkit.plugins.config import ComponentPlan, KitPlan, problems_of, unknown_key
from roomkit.plugins.errors import ConfigError, PluginBrokenError, PluginError, describe
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
    channels: dict[str, Channel] = field(default_factory=dict)  # bound: the configuration
    agents: dict[str, Channel] = field(default_factory=dict)  # bound: the configuration


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A component that is imported and whose settings are valid: all that is left is to build it."""

    component: Component
    factory: Callable[..., Any]
    arguments: Mapping[str, object]
    parts: Mapping[str, Blueprint]


class Drawing:
    """Draws blueprints, and collects their problems. Imports: not for a running loop."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._problems: list[str] = []  # bound: one configuration
        self._cause: PluginError | None = None

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
        own = {key: value for key, value in settings.items() if key not in parts}
        arguments = self._arguments(component, factory, own, where)
        if len(self._problems) > before:
            return None
        return Blueprint(component, factory, arguments, {k: v for k, v in parts.items() if v is not None})

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

    def check(self, source: str) -> None:
        """Raise `ConfigError` if anything was wrong."""
        if self._problems:
            raise ConfigError(source, self._problems) from self._cause

    def _part(self, kind: ComponentKind, value: object, where: str) -> Blueprint | None:
        if isinstance(value, str):
            return self.component(kind, value, {}, where=where)
        if isinstance(value, Mapping) and isinstance(plugin := value.get("plugin"), str):
            rest = {key: inner for key, inner in value.items() if key != "plugin"}
            return self.component(kind, plugin, rest, where=where)
        self._problems.append(f'{where} names no {kind}; write {{ plugin = "...", ... }}')
        return None

    def _arguments(
        self, component: Component, factory: Callable[..., Any], settings: dict[str, object], where: str
    ) -> dict[str, object]:
        if component.config is None:
            self._problems += [unknown_key(where, key, list(component.parts)) for key in settings]
            return {}
        model = self._model(component, where)
        if model is None:
            return {}
        unknown = _unknown_keys(model, settings, component)
        self._problems += [unknown_key(where, key, known) for key, known in unknown.items()]
        try:
            config = _validate(model, {key: settings[key] for key in settings if key not in unknown})
        except ValidationError as error:
            self._problems += problems_of(error, where)
            return {}
        signature = _signature(factory)
        if signature is not None and "config" in signature.parameters:
            return {"config": config}
        return {name: getattr(config, name) for name in type(config).model_fields}

    def _model(self, component: Component, where: str) -> type[BaseModel] | None:
        try:
            return config_model(component)
        except PluginBrokenError as error:
            self._problems.append(f"{where}: {error}")
            self._cause = self._cause or error
            return None


async def build_components(plan: KitPlan, manager: PluginManager) -> KitParts:
    """Build everything a plan names.

    All is imported, validated and constructed in a worker thread, so that no SDK stops the loop.
    Raises `ConfigError` with everything that is wrong, before anything is constructed, and
    `PluginBrokenError` if a constructor fails.
    """
    return await asyncio.to_thread(_build, plan, manager)


def config_model(component: Component) -> type[BaseModel] | None:
    """Import a component's config model. Raises `PluginBrokenError` if there is none where it says."""
    if component.config is None:
        return None
    try:
        model = resolve(component.config)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{component.config} is not a pydantic model")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginBrokenError(
            f"the config model of {component}, from plugin {component.plugin!r}, cannot be loaded: "
            f"{describe(error)}"
        ) from error
    return model


def construct(blueprint: Blueprint, **wiring: object) -> object:
    """Build a component, its parts first. Raises `PluginBrokenError` if a constructor fails."""
    parts = {name: construct(part) for name, part in blueprint.parts.items()}
    arguments = {**blueprint.arguments, **parts, **wiring}
    component = blueprint.component
    try:
        if (signature := _signature(blueprint.factory)) is not None:
            signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(str(component), [f"{blueprint.factory.__name__}: {error}"]) from error
    try:
        return blueprint.factory(**arguments)
    except (RoomKitError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginBrokenError(
            f"{component} of plugin {component.plugin!r} cannot be built: {describe(error)}"
        ) from error


def _build(plan: KitPlan, manager: PluginManager) -> KitParts:
    drawing = Drawing(manager)
    store = drawing.plan(ComponentKind.STORE, plan.store, where="store")
    locks = drawing.plan(ComponentKind.LOCKS, plan.locks, where="locks")
    realtime = drawing.plan(ComponentKind.REALTIME, plan.realtime, where="realtime")
    telemetry = drawing.plan(ComponentKind.TELEMETRY, plan.telemetry, where="telemetry")
    identity = drawing.plan(ComponentKind.IDENTITY, plan.identity, where="identity")
    channels = drawing.channels("channels", plan.channels)
    agents = drawing.channels("agents", plan.agents)
    drawing.check(plan.source)
    return KitParts(
        options=plan.kit,
        store=_built(store, ConversationStore),
        locks=_built(locks, RoomLockManager),
        realtime=_built(realtime, RealtimeBackend),
        telemetry=_built(telemetry, TelemetryProvider),
        identity=_built(identity, IdentityResolver),
        channels=_built_channels(channels),
        agents=_built_channels(agents),
    )


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


def _validate(model: type[BaseModel], settings: Mapping[str, object]) -> BaseModel:
    """Validate; where a reference stands for a plain setting, validate its text."""
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


def _unknown_keys(
    model: type[BaseModel], settings: Mapping[str, object], component: Component
) -> dict[str, list[str]]:
    if model.model_config.get("extra") == "allow":
        return {}
    names = {alias for name, field in model.model_fields.items() for alias in (name, field.alias) if alias}
    known = [*names, *component.parts]
    return {key: known for key in settings if key not in names}

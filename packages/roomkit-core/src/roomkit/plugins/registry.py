"""The object a plugin declares its components on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from roomkit.models.enums import ChannelType, EventType, HookTrigger
from roomkit.models.vocabulary import OpenVocabulary, declare
from roomkit.plugins.absence import unknown_kind
from roomkit.plugins.components import CORE_TABLES, Component, ComponentKind, Plugin
from roomkit.plugins.errors import RegistrationError

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_REFERENCE = re.compile(f"{_DOTTED}:{_DOTTED}")


class Registry:
    """Hands one plugin's components over to the core.

    Given to `roomkit_register`; of no use after it has returned.
    """

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def add(
        self,
        kind: ComponentKind | str,
        name: str,
        target: str,
        *,
        config: str | None = None,
        summary: str = "",
        aliases: Iterable[str] = (),
        parts: Mapping[str, ComponentKind | str | Sequence[ComponentKind | str]] | None = None,
    ) -> None:
        """Declare one component, without importing it.

        `target` and `config` are references such as `"acme_roomkit.provider:AcmeProvider"`. From a
        configuration file the component is built from its table: `config` (a pydantic model)
        validates the settings, and the class is called with the model as `config=` if it takes one,
        else with the model's fields as keyword arguments. Without `config` it takes no settings.
        `parts` names the constructor arguments that are components: `parts={"provider": "sms"}`, or lists of
        components of one kind: `parts={"providers": ["sms"]}`.

        Raises `RegistrationError` for an unknown kind, a malformed name or reference, or a name this
        plugin declared already.
        """
        single, lists = _parts(parts or {})
        component = Component(
            kind=_kind(kind),
            name=_name(name),
            target=_reference("target", target),
            plugin=self._plugin.name,
            config=None if config is None else _reference("config", config),
            summary=str(summary),
            aliases=tuple(_name(alias) for alias in aliases),
            parts=single,
            part_lists=lists,
        )
        taken = {
            claimed
            for known in self._plugin.components
            if known.kind is component.kind
            for claimed in (known.name, *known.aliases)
        }
        claims = (component.name, *component.aliases)
        for index, claim in enumerate(claims):
            if claim in taken or claim in claims[:index]:
                raise RegistrationError(f"{component.kind} {claim!r} is declared twice; declare it once")
        self._plugin.components.append(component)

    def add_channel_type(
        self, name: str, *, kin: ChannelType | str | None = None, address_type: str | None = None
    ) -> None:
        """Declare a type of channels, such as "slack".

        Filters for `kin`, a type that it is like, let it through, as those for SMS do MMS. `address_type` is
        the kind of its senders' addresses, its own name without it. Raises `RegistrationError` for a name of
        the core, or one that another plugin declared otherwise.
        """
        about: dict[str, object] = {}
        if kin is not None:
            about["kin"] = str(kin)
        if address_type is not None:
            about["address_type"] = address_type
        _declare(ChannelType, name, **about)

    def add_event_type(self, name: str, *, delivered: bool = False, answered: bool = False) -> None:
        """Declare a type of events.

        `delivered` ones go to every transport, others only to channels whose `capabilities.event_types` has
        them. `answered` ones are put to intelligences like messages, others only to those whose `responds_to`
        has them. Raises as `add_channel_type` does.
        """
        _declare(EventType, name, delivered=delivered, answered=answered)

    def add_trigger(self, name: str, *, payload: str, gate: bool = False) -> None:
        """Declare a trigger, which the plugin fires by `services.turns`.

        `payload` is the reference of what its hooks are given. On a `gate` SYNC hooks may block or rewrite;
        on any other, hooks only observe. Raises as `add_channel_type` does.
        """
        _declare(HookTrigger, name, payload=_reference("payload", payload), gate=gate)

    def add_kind(self, name: str, *, contract: str) -> None:
        """Declare a kind of components; `contract` is the reference of the class that they derive from.

        Raises as `add_channel_type` does.
        """
        _declare(ComponentKind, name, contract=_reference("contract", contract))

    def add_table(self, name: str, *, config: str) -> None:
        """Declare a table of the plugin's own in the configuration file, without importing its model.

        `config` is the reference of a pydantic model. `roomkit_configure` gets the validated model as
        `settings[name]`, if the file has the table, or the program gives it (`RoomKit(tables=...)`).

        Raises `RegistrationError` for a malformed name or reference, and a name that the file or this plugin
        has already.
        """
        self._check_table(_name(name))
        self._plugin.tables[name] = _reference("config", config)

    def add_option(self, name: str, kind: ComponentKind | str) -> None:
        """Declare an argument of the kit's constructor that is a component, such as `RoomKit(voice=backend)`.

        In the configuration file it is a table of that name, with `plugin` and the component's settings.
        `roomkit_configure` and `roomkit_routes` get the component as `settings[name]`, programs as
        `kit.<name>`.

        Raises `RegistrationError` for a name that is not an identifier, or that the file or this plugin has
        already.
        """
        if not name.isidentifier() or name.startswith("_"):
            raise RegistrationError(f"{name!r} cannot name an option; use an identifier, as in 'voice'")
        self._check_table(name)
        self._plugin.options[name] = _kind(kind)

    def _check_table(self, name: str) -> None:
        if name in (*CORE_TABLES, *self._plugin.tables, *self._plugin.options):
            raise RegistrationError(f"the table {name!r} is there already; choose another name")

    def add_method(self, name: str, target: str) -> None:
        """Add a method to every kit, without importing it: `add_method("call", "acme.calls:place_call")`.

        `target` is a function that takes the kit first. It is `kit.ext.<plugin>.<name>`, and for plugins of
        RoomKit's own also `kit.<name>`. Raises `RegistrationError` for a name that is not an identifier or is
        declared already, and for a malformed reference.
        """
        if not name.isidentifier() or name.startswith("_"):
            raise RegistrationError(f"{name!r} cannot name a method; use an identifier, as in 'place_call'")
        if name in self._plugin.methods:
            raise RegistrationError(f"method {name!r} is declared twice; declare it once")
        self._plugin.methods[name] = _reference("target", target)

    def add_merge(self, target: str) -> None:
        """Say how the plugin's state of two rooms becomes one when they are merged, without importing it.

        `target` is a pure function `(into, source) -> state`, which gets both rooms' state of the plugin,
        None for none, and returns the merged one. It runs under the rooms' locks: 5 ms at most. Raises
        `RegistrationError` if the plugin has one already, and for a malformed reference.
        """
        if self._plugin.merge is not None:
            raise RegistrationError("a merge of the plugin's state is declared twice; declare it once")
        self._plugin.merge = _reference("target", target)


def _parts(
    given: Mapping[str, ComponentKind | str | Sequence[ComponentKind | str]],
) -> tuple[dict[str, ComponentKind], dict[str, ComponentKind]]:
    """Return the parts that are one component each, and those that are lists of them."""
    single: dict[str, ComponentKind] = {}
    lists: dict[str, ComponentKind] = {}
    for part, kind in given.items():
        if isinstance(kind, str):
            single[str(part)] = _kind(kind)
        elif len(kind) == 1:
            lists[str(part)] = _kind(kind[0])
        else:
            raise RegistrationError(f"part {part!r} is {kind!r}; give a kind, or a list of one kind")
    return single, lists


def _kind(kind: ComponentKind | str) -> ComponentKind:
    """Return a kind; one that no plugin declares is found out once all plugins have registered."""
    try:
        return ComponentKind(kind)
    except ValueError:
        raise RegistrationError(unknown_kind(str(kind))) from None


def _declare[V: OpenVocabulary](vocabulary: type[V], word: str, **about: object) -> V:
    try:
        return declare(vocabulary, word, **about)
    except ValueError as error:
        raise RegistrationError(str(error)) from None


def _name(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise RegistrationError(
        f"{name!r} cannot name a component; use lower-case letters, digits and dashes, as in 'acme-sms'"
    )


def _reference(role: str, reference: object) -> str:
    if isinstance(reference, str) and _REFERENCE.fullmatch(reference):
        return reference
    raise RegistrationError(
        f"{role} {reference!r} is not a reference; write 'package.module:Class', as a string"
    )

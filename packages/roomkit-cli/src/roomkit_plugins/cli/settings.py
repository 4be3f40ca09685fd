"""A component's settings, read from its config model, and a sample for `roomkit.toml`."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from itertools import pairwise
from pathlib import PurePath
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from roomkit.plugins.components import SINGLE_TABLES, Component, ComponentKind
from roomkit.plugins.construction import config_model
from roomkit.plugins.production import alternatives

__all__ = ["Setting", "sample_of", "settings_of", "settings_of_model"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a component's table."""

    name: str
    type: str
    """For people: `str`, `int`, `"low" | "high"`, `table`, `ai component`."""
    required: bool
    default: str | None
    """As it is written in TOML; None where there is none, or none that TOML can say."""
    secret: bool
    """Give it as a reference: `env:NAME` or `file:PATH`."""
    description: str
    read_as: FieldInfo | None = field(default=None, repr=False)
    """The field that reads it; None where no model does."""

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "read_as"}

    def hides(self, path: Sequence[str]) -> bool:
        """Whether the part at `path` inside of the value, or anything below it, is not to be shown."""
        return self.secret or (self.read_as is not None and _hides(self.read_as, path, frozenset()))


def settings_of(component: Component) -> list[Setting]:
    """Read a component's settings, its parts among them, the required ones first.

    Imports its config model. Raises PluginBrokenError.
    """
    model = config_model(component)
    own = [] if model is None else settings_of_model(model)
    parts = [
        Setting(name, f"{kind} component", False, None, False, "A name, or a table with `plugin`.")
        for name, kind in component.parts.items()
    ]
    parts += [
        Setting(name, f"list of {kind} components", False, None, False, "Names, or tables with `plugin`.")
        for name, kind in component.part_lists.items()
    ]
    return sorted([*own, *parts], key=lambda setting: not setting.required)


def settings_of_model(model: type[BaseModel]) -> list[Setting]:
    """Read the settings of one model, in its order."""
    written = _docstrings(model)
    return [_setting(name, field, written.get(name, "")) for name, field in model.model_fields.items()]


def sample_of(component: Component, settings: Sequence[Setting], channels: Sequence[Component]) -> str | None:
    """Return the smallest table of `roomkit.toml` for a component; None where the file has no place for one.

    It has the required settings, and the secret ones as references. A part of one of the `channels`
    is shown as such.
    """
    keys = {each.name: _example(component, each) for each in settings if each.required or each.secret}
    pairs = {"plugin": json.dumps(component.name), **keys}
    if (header := _header(component)) is not None:
        parts = {name: '{ plugin = "..." }' for name in component.parts if name == "provider"}
        return _table(header, {**pairs, **parts})
    for channel in channels:
        for part, kind in channel.parts.items():
            if kind is component.kind and (header := _header(channel)) is not None:
                inline = ", ".join(f"{key} = {value}" for key, value in pairs.items())
                return _table(header, {"plugin": json.dumps(channel.name), part: f"{{ {inline} }}"})
    return None


def _table(header: str, pairs: Mapping[str, str]) -> str:
    return "\n".join([f"[{header}]", *(f"{key} = {value}" for key, value in pairs.items())])


def _header(component: Component) -> str | None:
    if component.kind is ComponentKind.CHANNEL:
        return "agents.front" if "memory" in component.parts else "channels.front"
    return component.kind.value if component.kind.value in SINGLE_TABLES else None


def _example(component: Component, setting: Setting) -> str:
    if setting.secret:
        variable = f"{component.name}_{setting.name}".upper().replace("-", "_")
        return json.dumps(f"env:{variable}")
    first = setting.type.split(" | ")[0]
    return first if first.startswith('"') else _EXAMPLES.get(first, '"..."')


_EXAMPLES = {"int": "1", "float": "1.0", "bool": "true", "list": "[]", "table": "{}"}


def _setting(name: str, info: FieldInfo, written: str) -> Setting:
    kinds = [kind for kind in alternatives(info.annotation) if kind is not type(None)]  # TOML has no null
    default = None if info.is_required() else _as_toml(info.get_default(call_default_factory=False))
    return Setting(
        name=name,
        type=" | ".join(dict.fromkeys(map(_kind, kinds))),
        required=info.is_required(),
        default=default,
        secret=SecretStr in kinds,
        description=" ".join((info.description or written).split()),
        read_as=info,
    )


def _hides(info: FieldInfo, path: Sequence[str], seen: frozenset[type]) -> bool:
    """Whether a field, or the part at `path` inside of it, holds a secret, or is in no repr."""
    return not info.repr or any(_is_secret(kind, path, seen) for kind in alternatives(info.annotation))


def _is_secret(kind: object, path: Sequence[str], seen: frozenset[type]) -> bool:
    if kind is SecretStr:
        return True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _is_secret_model(kind, path, seen)
    inner, is_table = get_args(kind), _kind(kind) == "table"
    below = path[1:] if is_table else path
    values = inner[-1:] if is_table else inner
    return any(_is_secret(each, below, seen) for value in values for each in alternatives(value))


def _is_secret_model(model: type[BaseModel], path: Sequence[str], seen: frozenset[type]) -> bool:
    if path:
        info = model.model_fields.get(path[0])
        return info is None or _hides(info, path[1:], seen)
    if model in seen:  # it holds itself
        return False
    return any(_hides(info, (), seen | {model}) for info in model.model_fields.values())


def _kind(annotation: object) -> str:
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return " | ".join(map(json.dumps, get_args(annotation)))
    if not isinstance(origin, type):
        return "any"
    if issubclass(origin, Enum):
        return " | ".join(json.dumps(member.value) for member in origin)
    for bases, name in _KINDS:
        if issubclass(origin, bases):
            return name
    return "str"


_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool,), "bool"),
    ((int,), "int"),
    ((float,), "float"),
    ((str, SecretStr), "str"),
    ((Mapping, BaseModel), "table"),
    ((Collection,), "list"),
)


def _as_toml(value: object) -> str | None:
    match value:
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Enum():
            return json.dumps(value.value)
        case PurePath():
            return json.dumps(str(value))
        case tuple() | list() if not value:
            return "[]"
    return None


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Read the docstrings under the fields, of the bases too: where most models describe them."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _docstrings_in(base)
    return found


def _docstrings_in(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = inspect.getsource(model)
    except (OSError, TypeError):  # made at run time, or shipped without its source
        return {}
    (made,) = ast.parse(textwrap.dedent(source)).body
    found: dict[str, str] = {}
    for before, after in pairwise(made.body if isinstance(made, ast.ClassDef) else ()):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found

"""The entry of one public name on a page of the API, read from the object itself."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from roomkit._exports import HOMES
from roomkit.models.base import Record
from roomkit_plugins.cli.settings import settings_of_model

WIDTH = 100
PARAGRAPH = 110
_OURS = ("roomkit.", "roomkit_plugins.")
_OF_RECORDS = frozenset(dir(Record))


def entry(name: str, value: object) -> Iterator[str]:
    """Yield the lines below the heading of a name."""
    if isinstance(value, type) and issubclass(value, Enum):
        yield from _text(value)
        yield ""
        yield from wrapped(", ".join(f"`{member.name}` (`{member.value}`)" for member in value))
    elif isinstance(value, type):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield from _function(name, value)
    else:
        yield from _code(_alias(value))


def _class(name: str, made: type) -> Iterator[str]:
    yield from _text(made)
    if issubclass(made, BaseModel):
        yield from _fields(made)
    elif made.__init__ is not object.__init__ and inspect.isfunction(made.__init__):
        yield ""
        yield from _code(_signature(name, made.__init__, "class ", _type_arguments(made)))
    elsewhere: dict[str, list[str]] = {}
    for method, found in _methods(made):
        if (base := _explained_by(made, method)) is not None:
            elsewhere.setdefault(base, []).append(f"`{method}`")
            continue
        yield ""
        yield f"### {name}.{method}"
        yield ""
        yield from _member(method, found)
    for base, methods in elsewhere.items():
        yield ""
        yield from wrapped(f"As `{base}` says: {', '.join(sorted(methods))}.")


def _fields(record: type[BaseModel]) -> Iterator[str]:
    """A table of the fields; a record's field says by its type and default what its docstring does not."""
    about = {setting.name: setting.description for setting in settings_of_model(record)}
    yield ""
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for name, field in record.model_fields.items():
        kind = _cell(_annotation(record, name))
        given = "required" if field.is_required() else _default(field.default)
        yield f"| `{name}` | `{kind}` | {given} | {_cell(about[name])} |"


def _annotation(record: type, name: str) -> str:
    for base in record.__mro__:
        if name in (found := inspect.get_annotations(base)):
            return str(found[name])
    return ""


def _default(value: object) -> str:
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if value is None or isinstance(value, bool | int | float | str):
        return f"`{value!r}`"
    return "" if type(value).__name__ == "PydanticUndefinedType" else "empty" if not value else "see its type"


def _methods(made: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties, of the class first, in order of their definition."""
    seen = {*_OF_RECORDS}
    for owner in made.__mro__:
        for name, found in vars(owner).items() if owner.__module__.startswith(_OURS) else ():
            is_member = inspect.isfunction(_bare(found)) or isinstance(found, property)
            if not name.startswith("_") and name not in seen and is_member:
                seen.add(name)
                yield name, found


def _explained_by(made: type, method: str) -> str | None:
    """Name the public class above `made` whose contract a method is; None where it is its own."""
    for base in reversed(made.__mro__[1:]):
        if method in vars(base) and base.__name__ in HOMES:
            return base.__name__
    return None


def _bare(found: Any) -> Any:
    return found.__func__ if isinstance(found, classmethod | staticmethod) else found


def _member(name: str, found: Any) -> Iterator[str]:
    if isinstance(found, property):
        given = inspect.get_annotations(found.fget).get("return", "") if found.fget else ""
        yield from _code([f"{name}: {given}"])
        yield ""
        yield from _text(found)
    else:
        kind = "classmethod " if isinstance(found, classmethod) else ""
        yield from _function(name, _bare(found), kind)


def _function(name: str, function: Callable[..., Any], kind: str = "") -> Iterator[str]:
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    yield from _code(_signature(name, function, f"{kind}async " if is_async else kind))
    yield ""
    yield from _text(function)


def _type_arguments(made: type) -> Mapping[str, str]:
    """Return what stands for the type parameters of the classes above one, by their names."""
    found: dict[str, str] = {}
    for base in (base for each in made.__mro__ for base in getattr(each, "__orig_bases__", ())):
        for parameter, given in zip(_parameters_of(base), get_args(base), strict=False):
            said = getattr(given, "__name__", str(given))
            found.setdefault(parameter, found.get(said, said))
    return found


def _parameters_of(base: Any) -> list[str]:
    return [each.__name__ for each in getattr(get_origin(base), "__type_params__", ())]


def _signature(
    name: str, function: Callable[..., Any], prefix: str, arguments: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Write a signature as its source does: types as they stand there, one parameter a line if it is long.

    `arguments` stand in the place of type parameters.
    """
    signature = inspect.signature(function)
    typed = [
        each.replace(annotation=arguments.get(each.annotation, each.annotation))
        for each in signature.parameters.values()
    ]
    signature = signature.replace(parameters=typed)
    parameters = list(_parameters(signature))
    returns = _type(signature.return_annotation)
    arrow = f" -> {returns}" if returns and prefix != "class " else ""
    line = f"{prefix}{name}({', '.join(parameters)}){arrow}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{prefix}{name}(", *(f"    {one}," for one in parameters), f"){arrow}"]


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    named = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            named = True
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            named = True
            yield "*"
        yield _parameter(parameter)


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    kind = _type(parameter.annotation)
    typed = f"{stars.get(parameter.kind, '')}{parameter.name}{f': {kind}' if kind else ''}"
    if parameter.default is inspect.Parameter.empty:
        return typed
    return f"{typed} = {_shown(parameter.default)}"


def _shown(value: object) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else "..."


def _type(annotation: object) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _alias(value: object) -> list[str]:
    """Write a type's name as its module does: what it stands for may be imported for checkers only."""
    module, name = sys.modules[str(value.__module__)], getattr(value, "__name__", "")
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.TypeAlias) and node.name.id == name:
            return ast.unparse(node).splitlines()
    raise LookupError(f"no type alias {name} in {module.__name__}")


def _code(lines: list[str]) -> Iterator[str]:
    yield "```py"
    yield from lines
    yield "```"


def _text(value: object) -> Iterator[str]:
    yield from (inspect.getdoc(value) or "").splitlines()


def wrapped(text: str) -> list[str]:
    """Break a paragraph into lines of a readable width."""
    return textwrap.wrap(text, PARAGRAPH, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

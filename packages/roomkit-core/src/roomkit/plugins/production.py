"""What the profile `prod` refuses: settings that are fit for a laptop alone.

A config model marks a setting that makes a deployment insecure by `json_schema_extra={"insecure": "why"}`;
its default is always allowed.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeAliasType, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

__all__ = ["PRODUCTION", "alternatives", "refused_settings"]

PRODUCTION = "prod"
"""The name of the profile."""


def refused_settings(
    model: type[BaseModel], settings: Mapping[str, object], where: str, *, in_file: bool
) -> Iterator[str]:
    """Yield the problems of settings in production: those marked, and secrets written into a file."""
    for name, field in model.model_fields.items():
        if name not in settings:
            continue
        value, extra = settings[name], field.json_schema_extra
        why = extra.get("insecure") if isinstance(extra, Mapping) else None
        if why and value and value != field.get_default(call_default_factory=True, validated_data={}):
            yield f"{where}.{name}: the profile {PRODUCTION!r} refuses it: {why}"
        if in_file:
            yield from _written_secrets(field.annotation, value, f"{where}.{name}")


def _written_secrets(annotation: object, value: object, where: str) -> Iterator[str]:
    kinds = [*alternatives(annotation)]
    if isinstance(value, str) and SecretStr in kinds and str not in kinds:
        yield (
            f"{where}: the profile {PRODUCTION!r} refuses a secret that is written into the file: give it as "
            "env:NAME or file:PATH"
        )
    if not isinstance(value, Mapping):
        return
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from refused_settings(kind, value, where, in_file=True)
        elif len(inner := get_args(kind)) == 2:
            for key, each in value.items():
                yield from _written_secrets(inner[1], each, f"{where}.{key}")


def alternatives(annotation: Any) -> Iterator[object]:  # Any: whatever a field is annotated with
    """Yield what a value may be, without aliases and annotations around it."""
    if isinstance(annotation, TypeAliasType):
        yield from alternatives(annotation.__value__)
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from alternatives(each)
    elif hasattr(annotation, "__metadata__"):
        yield from alternatives(get_args(annotation)[0])
    else:
        yield annotation

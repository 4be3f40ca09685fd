"""References such as `package.module:Class`: strings until they are used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def resolve(reference: str) -> Callable[..., Any]:
    """Import what a reference names. Raises whatever the import raises, and `TypeError` for no callable."""
    module, _, path = reference.partition(":")
    target: Any = import_module(module)
    for attribute in path.split("."):
        target = getattr(target, attribute)
    if not callable(target):
        raise TypeError(f"{reference} is a {type(target).__name__}, not a class or a factory")
    resolved: Callable[..., Any] = target
    return resolved

"""Properties and plain methods of other code: read under a guard, and checked for their type."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import UnionType
from typing import Any

from roomkit.abc.errors import ForeignCodeError
from roomkit.models.values import error_text


def unreadable(owner: str, name: str, error: BaseException) -> ForeignCodeError:
    """Return the failure of a property or plain method that raised `error`."""
    failure = ForeignCodeError(f"{name} of {owner} raised {error_text(error)}: let it return its value")
    failure.__cause__ = error
    return failure


def mistyped(owner: str, name: str, found: object, kind: type | UnionType) -> ForeignCodeError:
    """Return the failure of a property or plain method that returned what its contract does not allow."""
    wanted = kind.__name__ if isinstance(kind, type) else str(kind)
    return ForeignCodeError(f"{name} of {owner} is {type(found).__name__}: it has to be {wanted}")


def read(owner: str, name: str, get: Callable[[], Any], kind: type | UnionType) -> Any:
    """Return what a plain method or property of a plugin gives. Raises ForeignCodeError.

    It runs in the caller's step of the loop, so a CancelledError or GeneratorExit of it is its own.
    """
    try:
        found = get()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever other code raises is its failure
        raise unreadable(owner, name, error) from error
    if not isinstance(found, kind):
        raise mistyped(owner, name, found, kind)
    return found


def read_attribute(owner: str, plugin: object, name: str, kind: type | UnionType) -> Any:
    """Return an attribute of a plugin, as `read` does."""
    return read(owner, name, partial(getattr, plugin, name), kind)

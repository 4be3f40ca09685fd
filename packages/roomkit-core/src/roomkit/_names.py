"""Lazy public names: what a module offers is known at import, where it lives is imported at first use.

`import roomkit` and every plugin's `__init__` pay for a dict, never for pydantic or an SDK (PEP 562).
Standard library only: each floor of the core, and each plugin, may use it.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # what checkers know as typing's, without the cost of importing it
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import ModuleType

    type Lookup = Callable[[str], object]
    type Listing = Callable[[], list[str]]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Lookup, Listing, list[str]]:
    """Make a package's public names load at first use.

    `package` is the package's `__name__`; `homes` maps each public name to the submodule that
    defines it. Call it outside `TYPE_CHECKING`, so that checkers see real imports and a typo is an error:

        if TYPE_CHECKING:
            from roomkit_plugins.websocket.channel import WebSocketChannel as WebSocketChannel
        else:
            __getattr__, __dir__, __all__ = lazy_names(__name__, {"WebSocketChannel": "channel"})

    An error raised while the submodule is imported is not touched: if an SDK is missing, the user
    reads which one.
    """

    def load(name: str) -> object:
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return *_lazy_module(package, homes, load), list(homes)


def reexport(module: str, names: Iterable[str]) -> tuple[Lookup, Listing]:
    """Make `module` a documented home of public names: `roomkit` itself, and its second homes.

    Its `__all__` is what is installed and can be imported, so that a star import always works.
    """
    known = frozenset(names)

    def load(name: str) -> object:
        return _installed(known) if name == "__all__" else public_name(name)

    return _lazy_module(module, known | {"__all__"}, load)


def mirror(module: str, mirrored: str) -> tuple[Lookup, Listing]:
    """Make `module` a second home of everything in the module `mirrored`."""

    def lookup(name: str) -> object:
        if name.startswith("__") and name != "__all__":
            raise unknown_attribute(module, name, ())
        return getattr(_home(mirrored, asked_for=module), name)

    return lookup, lambda: dir(_home(mirrored, asked_for=module))


def public_name(name: str) -> object:
    """Return the object that `from roomkit import <name>` means.

    Raises `ImportError` with the `pip install` that brings the name, if its distribution is missing
    or too old. An import error from inside an installed distribution is left as it is.
    """
    from roomkit._exports import HOMES

    home = HOMES[name]
    module = _home(home, asked_for=f"roomkit.{name}")
    try:
        return getattr(module, name)
    except AttributeError:
        distribution = distribution_of(home)
        raise ImportError(
            f"roomkit.{name} is not in the installed {distribution}: pip install --upgrade {distribution}",
            name=home,
        ) from None


def distribution_of(module: str) -> str:
    """Name the first-party distribution that ships `module`.

    >>> distribution_of("roomkit_plugins.vad_energy"), distribution_of("roomkit.abc.store")
    ('roomkit-vad-energy', 'roomkit-core')
    """
    package, _, rest = module.partition(".")
    if package == "roomkit":
        return "roomkit-core"
    return f"roomkit-{rest.partition('.')[0].replace('_', '-')}"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that `name` is probably a slip of, if there is one."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def unknown_attribute(module: str, name: str, candidates: Iterable[str]) -> AttributeError:
    """Build the error for a name that `module` does not have."""
    message = f"module {module!r} has no attribute {name!r}"
    if not name.startswith("_") and (close := nearest(name, candidates)):
        message += f". Did you mean {close!r}?"
    return AttributeError(message, name=name, obj=sys.modules.get(module))


def _home(module: str, asked_for: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        distribution = distribution_of(module)
        raise ImportError(
            f"{asked_for} comes with {distribution}, which is not installed: pip install {distribution}",
            name=error.name,
        ) from None


def _lazy_module(module: str, names: Collection[str], load: Lookup) -> tuple[Lookup, Listing]:
    namespace = sys.modules[module].__dict__

    def __getattr__(name: str) -> object:
        if name not in names:
            raise unknown_attribute(module, name, names)
        value = namespace[name] = load(name)
        return value

    def __dir__() -> list[str]:
        return sorted({*namespace, *names} - {"__all__"})

    return __getattr__, __dir__


def _installed(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if _is_there(name))


def _is_there(name: str) -> bool:
    try:
        public_name(name)
    except Exception:  # noqa: BLE001 - nobody asked for this one by name
        return False
    return True

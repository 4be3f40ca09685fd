"""Lazy public names: what a module offers is known at import, where it lives is imported at first use.

`import roomkit` and every plugin's `__init__` pay for a dict, never for pydantic or an SDK (PEP 562).
Standard library only: each floor of the core, and each plugin, may use it.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

type LazyModule = tuple[Callable[[str], object], Callable[[], list[str]], list[str]]
"""What a lazy module defines: `__getattr__`, `__dir__` and `__all__`."""


def lazy_names(package: str, homes: Mapping[str, str]) -> LazyModule:
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

    return _lazy_module(package, homes, load)


def reexport(module: str, names: Iterable[str]) -> LazyModule:
    """Make `module` a second, documented home of public names of `roomkit`."""
    return _lazy_module(module, dict.fromkeys(names), public_name)


def public_name(name: str) -> object:
    """Return the object that `from roomkit import <name>` means.

    Raises `ImportError` with the `pip install` that brings the name, if its distribution is missing
    or too old. An import error from inside an installed distribution is left as it is.
    """
    from roomkit._exports import HOMES

    home = HOMES[name]
    distribution = distribution_of(home)
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{home}.".startswith(f"{error.name}."):
            raise
        raise ImportError(
            f"roomkit.{name} comes with {distribution}, which is not installed: pip install {distribution}",
            name=error.name,
        ) from None
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError(
            f"roomkit.{name} is not in the installed {distribution}: pip install --upgrade {distribution}",
            name=home,
        ) from None


def installed_names() -> list[str]:
    """List the public names whose distribution is installed: what `from roomkit import *` binds."""
    from roomkit._exports import HOMES

    found = {home: _is_installed(home) for home in set(HOMES.values())}
    return [name for name, home in HOMES.items() if found[home]]


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


def _lazy_module(module: str, names: Mapping[str, object], load: Callable[[str], object]) -> LazyModule:
    namespace = sys.modules[module].__dict__

    def __getattr__(name: str) -> object:
        if name not in names:
            raise unknown_attribute(module, name, names)
        value = namespace[name] = load(name)
        return value

    def __dir__() -> list[str]:
        return sorted({*namespace, *names})

    return __getattr__, __dir__, list(names)


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    if module.startswith("roomkit."):
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False

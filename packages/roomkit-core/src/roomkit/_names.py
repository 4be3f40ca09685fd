"""Lazy public names: what a module offers is known at import, where it lives is imported at first use.

`import roomkit` and every plugin's `__init__` pay for a dict, never for pydantic or an SDK (PEP 562).
A name that cannot be loaded is not an attribute, so that `hasattr`, `inspect` and `help` work; importing it
raises the `ImportError` that says why, and what to install.
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
    """Make the package `module` a documented home of public names: `roomkit` itself, and its second homes.

    Its `__all__` lists the names that can be imported, so that a star import always works.
    """
    known = frozenset(names)

    def load(name: str) -> object:
        return _loadable(known) if name == "__all__" else public_name(name)

    lookup, _ = _lazy_module(module, known | {"__all__"}, load)
    return lookup, lambda: _listing(module, _installed(known))


def mirror(module: str, mirrored: str) -> tuple[Lookup, Listing]:
    """Make the package `module` a second home of everything in the module `mirrored`."""

    def load(name: str) -> object:
        return getattr(_home(mirrored, asked_for=module), name)

    def lookup(name: str) -> object:
        if name.startswith("__") and name != "__all__":
            raise unknown_attribute(module, name, ())
        return _attribute(module, name, load)

    _explain(module, lambda name: not name.startswith("_"), load)
    return lookup, lambda: _listing(module, dir(_home(mirrored, asked_for=module)))


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
    except AttributeError as error:
        if isinstance(error.__cause__, ImportError):
            raise error.__cause__ from None
        distribution = distribution_of(home)
        advice = how_to_get(distribution, upgrade=True)
        raise ImportError(
            f"roomkit.{name} is not in the installed {distribution}: {advice}", name=home
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


def how_to_get(distribution: str, *, upgrade: bool = False) -> str:
    """Say how to install a distribution, or a newer version of it.

    Anyone may register a name on a package index before we publish it, so `pip install` is advised only
    for our published distributions and for those of third parties.
    """
    from roomkit._exports import DISTRIBUTIONS

    match DISTRIBUTIONS.get(distribution, "published"):
        case "planned":
            return "it is not built yet, and a package of that name on an index is not ours"
        case "built":
            return (
                "it is not on a package index yet; run `uv build --all-packages -o dist && "
                "pip install dist/*.whl` in a checkout of RoomKit"
            )
        case _:
            return f"pip install {'--upgrade ' if upgrade else ''}{distribution}"


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
            f"{asked_for} comes with {distribution}, which is not installed: {how_to_get(distribution)}",
            name=error.name,
        ) from None


def _lazy_module(module: str, names: Collection[str], load: Lookup) -> tuple[Lookup, Listing]:
    namespace = sys.modules[module].__dict__

    def __getattr__(name: str) -> object:
        if name not in names:
            raise unknown_attribute(module, name, names)
        value = namespace[name] = _attribute(module, name, load)
        return value

    def __dir__() -> list[str]:
        return _listing(module, names)

    _explain(module, names.__contains__, load, names)
    return __getattr__, __dir__


def _attribute(module: str, name: str, load: Lookup) -> object:
    """Load an attribute; if it cannot be imported, the module does not have it."""
    try:
        return load(name)
    except ImportError as error:
        raise AttributeError(str(error), name=name, obj=sys.modules.get(module)) from error


class _Explanations:
    """The last finder of the import system: says why a public name cannot be imported.

    `from roomkit import X` looks for the attribute, then for the module `roomkit.X`, which gets here. Without
    it Python would say only that the name cannot be imported. Python suggests a name by itself, though among
    at most 750, and `roomkit` has more.
    """

    def __init__(self) -> None:
        # bound: lazy packages
        self._packages: dict[str, tuple[Callable[[str], bool], Lookup, Collection[str]]] = {}

    def add(
        self, package: str, offers: Callable[[str], bool], load: Lookup, names: Collection[str] = ()
    ) -> None:
        """Explain the names that `package` offers by loading them, which raises the reason.

        For a slip of one of `names` that is suggested.
        """
        self._packages[package] = offers, load, names

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find nothing; raise ImportError for a public name that cannot be loaded, and for a slip of one.

        Modules have names in lower case, so nothing that may be one is taken for a slip.
        """
        package, _, name = fullname.rpartition(".")
        if package not in self._packages:
            return
        offers, load, names = self._packages[package]
        if offers(name):
            load(name)
        elif not name.islower() and (close := nearest(name, names)):
            raise ImportError(
                f"cannot import name {name!r} from {package!r}. Did you mean: {close!r}?", name=fullname
            )


_EXPLANATIONS = _Explanations()
sys.meta_path.append(_EXPLANATIONS)
_explain = _EXPLANATIONS.add


def _listing(module: str, names: Iterable[str]) -> list[str]:
    """List what `module` has, and `names`, without what only builds it."""
    present = {name for name in sys.modules[module].__dict__ if name != "TYPE_CHECKING"}
    return sorted({*present, *names} - {"__all__", "annotations"})


def _installed(names: Iterable[str]) -> list[str]:
    """List the names that installed distributions have. Of a plugin only its lazy `__init__` is imported."""
    from roomkit._exports import HOMES

    homes = {name: HOMES[name] for name in names}
    offered = {home: _offered(home) for home in set(homes.values()) if not home.startswith("roomkit.")}
    return [name for name, home in homes.items() if home not in offered or name in offered[home]]


def _offered(plugin: str) -> Collection[str]:
    try:
        return dir(import_module(plugin))
    except Exception:  # noqa: BLE001 - a module that cannot be imported offers no names; its own import says why
        return ()


def _loadable(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if _is_there(name))


def _is_there(name: str) -> bool:
    try:
        public_name(name)
    except Exception:  # noqa: BLE001 - this one was not asked for by name
        return False
    return True

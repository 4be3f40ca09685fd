"""Who may import whom: the star of packages, and the floors of the core."""

from __future__ import annotations

from collections.abc import Iterator

from tests.tree.plan import arrows, circles
from tools.source import Import, Tree, owner

FLOORS = ("models", "abc", "authoring", "memory", "plugins", "kernel")
"""The floors of the core, from the ground up. What lies beside them (`_names`, `_exports`) is below all."""

ROOMS = (
    "flow",
    "runtime",
    "consent",
    "media",
    "commit",
    "following",
    "delivery",
    "rooms",
    "schedule",
    "meeting",
    "inbound",
    "privacy",
    "cluster",
)
"""The rooms of the kernel, from the ground up. What lies beside them (the kit, its assembly) is above all."""

UPWARD_IMPORTS = {
    (
        "roomkit.plugins.builtin",
        "roomkit.kernel.kit",
    ): "the core's own hooks are handed the kit; for checkers only",
    ("roomkit.plugins.failure_log", "roomkit.kernel.kit"): "what a hook was handed; for checkers only",
    ("roomkit.plugins.hookspecs", "roomkit.kernel.kit"): "hooks are handed the kit; for checkers only",
    ("roomkit.plugins.manager", "roomkit.kernel.kit"): "so are the hooks' wrappers; for checkers only",
}
"""The exceptions, each with its reason."""

CIRCLES = (
    {
        "roomkit.kernel.kit",
        "roomkit.plugins",
        "roomkit.plugins.builtin",
        "roomkit.plugins.construction",
        "roomkit.plugins.discovery",
        "roomkit.plugins.failure_log",
        "roomkit.plugins.hooks",
        "roomkit.plugins.hookspecs",
        "roomkit.plugins.manager",
        "roomkit.plugins.schema",
    },
)
"""The circles of imports that are left; no other is added."""

KERNEL = FLOORS.index("kernel")
KERNEL_FOR_PLUGINS = {
    "roomkit.kernel.flow.timers": "the trees of roomkit-testing look for the kernel's own timers",
    "roomkit.kernel.kit": "programs and tools hold a RoomKit, which is public as `roomkit.RoomKit`",
}
"""What of the kernel a plugin may import, each with its reason."""


def star(tree: Tree) -> Iterator[str]:
    """A plugin depends on the core, on its vendor's library, and on no other plugin."""
    known = {one.name for one in tree.distributions}
    for plugin in tree.plugins:
        may = {plugin.name, "roomkit-core", *tree.catalogue["allowed"].get(plugin.name, [])}
        for name in (known & set(plugin.requirements)) - may:
            yield f"packages/{plugin.name}/pyproject.toml requires {name}; plugins meet only in the core"
        for module in plugin.modules:
            for used in module.imports:
                for other in _owners(used) - may:
                    yield (
                        f"{tree.place(module, used.line)} imports {used.module} of {other}; put what both "
                        f"need in roomkit.abc, or add {other} to [allowed] in catalogue.toml"
                    )


def plugins_stay_before_the_contract(tree: Tree) -> Iterator[str]:
    """A plugin uses what the contract gives, never the kernel behind it."""
    for plugin in tree.plugins:
        for module in plugin.modules:
            for used in module.imports:
                is_of_kernel = KERNEL in map(_floor, used.targets)
                if is_of_kernel and used.module not in KERNEL_FOR_PLUGINS:
                    yield (
                        f"{tree.place(module, used.line)} imports {used.module}, which is behind the "
                        "contract; use roomkit.abc and roomkit.models, or move what plugins need there"
                    )


def core_imports_no_plugin(tree: Tree) -> Iterator[str]:
    """The core knows plugins by their entry points; only generated tables of names name their modules."""
    for module in tree.core:
        for used in module.imports:
            if _owners(used) and not module.generated:
                yield f"{tree.place(module, used.line)} imports {used.module}; ask the plugin manager by name"


def package_tests_stay_at_home(tree: Tree) -> Iterator[str]:
    """A package's own tests need that package and `roomkit-testing`; what crosses packages is in tests/."""
    for one in tree.distributions:
        may = {one.name, "roomkit-testing", *one.requirements}
        for module in tree.tests:
            if one.folder in module.path.parents:
                for used in module.imports:
                    for other in _owners(used) - may:
                        place = tree.place(module, used.line)
                        yield f"{place} imports {used.module} of {other}; move the test to tests/"


def floors(tree: Tree) -> Iterator[str]:
    """A floor of the core imports only itself and the floors below it; imports for checkers count too."""
    for module in tree.core:
        floor = _floor(module.name)
        for used in module.imports:
            upward = max(map(_floor, used.targets)) > floor >= 0 and not module.generated
            if upward and (module.name, used.module) not in UPWARD_IMPORTS:
                yield (
                    f"{tree.place(module, used.line)} imports {used.module}, from a floor above "
                    f"({' < '.join(FLOORS)}); pass it in, or move the contract to roomkit.abc"
                )


def kernel_rooms(tree: Tree) -> Iterator[str]:
    """A room of the kernel imports only itself and the rooms below it; imports for checkers count too."""
    for module in tree.core:
        room = _room(module.name)
        for used in module.imports:
            if max(map(_room, used.targets)) > room >= 0:
                yield (
                    f"{tree.place(module, used.line)} imports {used.module}, from a room above "
                    f"({' < '.join(ROOMS)}); pass it in, or move what both need down"
                )


def circles_are_known(tree: Tree) -> Iterator[str]:
    """Modules that import each other, for checkers too, are one module; `CIRCLES` says which are left."""
    for one in tree.distributions:
        for circle in circles(arrows(one.modules)):
            if not any(set(circle) <= known for known in CIRCLES):
                yield f"{one.name}: {', '.join(circle)} import each other; pass something in, or move it down"


def upward_imports_are_needed(tree: Tree) -> Iterator[str]:
    """An exception that is no longer needed leaves the list."""
    found = {(module.name, used.module) for module in tree.core for used in module.imports}
    for importer, imported in UPWARD_IMPORTS.keys() - found:
        yield f"UPWARD_IMPORTS lists {importer} -> {imported}, which is not there any more; remove it"


def _owners(used: Import) -> set[str]:
    """Return the plugin distributions that an import takes from, also by `from roomkit_plugins import x`."""
    return {found for target in used.targets if (found := owner(target))}


def _floor(module: str) -> int:
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return FLOORS.index(name) if package == "roomkit" and name in FLOORS else -1


def _room(module: str) -> int:
    if not module.startswith("roomkit.kernel."):
        return -1
    name = module.split(".")[2]
    return ROOMS.index(name) if name in ROOMS else len(ROOMS)

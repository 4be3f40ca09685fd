"""Public names: promised ones exist, and generated tables are current."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.exports import built_names, generate, planned_names
from tools.source import Module, Tree, owner

SECOND_HOMES = {
    "roomkit.abc": "what plugins implement",
    "roomkit.models": "what flows",
    "roomkit.memory": "the defaults in memory",
    "roomkit.testing": "for authors",
    "roomkit.testing.contracts": "for authors",
    "roomkit.sources": "programs of the first line import from it",
    "roomkit.voice": "holds the next two",
    "roomkit.voice.pipeline": "programs of the first line import from it",
    "roomkit.voice.interruption": "programs of the first line import from it",
}
"""Where public names may be taken from besides `roomkit`, each with its reason."""


def exports_are_current(tree: Tree) -> Iterator[str]:
    """The generated modules are what the generator makes of the tree."""
    files = generate(tree)
    for path, text in files.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield f"{path.relative_to(tree.root)} is out of date; run `uv run nox -s exports`"
    for module in tree.core:
        if module.generated and module.path not in files:
            yield f"{tree.place(module)} is generated from nothing any more; delete it"


def a_name_has_one_home(tree: Tree) -> Iterator[str]:
    """Public names come from `roomkit`; the few other modules offer what their own names promise."""
    known = {name for name, _ in (*built_names(tree), *planned_names(tree))}
    for module, home in tree.catalogue["homes"].items():
        if module not in SECOND_HOMES:
            yield f"catalogue.toml: {module} re-exports; import its names from roomkit, and remove it"
        for name in home.get("names", []):
            if name not in known:
                yield f"catalogue.toml: {module} offers {name}, which is no public name"
    for module in tree.core:
        if not module.generated and _only_reexports(module):
            yield f"{tree.place(module)} only re-exports; delete it and import from where the names are"


def _only_reexports(module: Module) -> bool:
    """Whether there is nothing in a module but imports of names that it offers in `__all__`."""
    kinds = (ast.Import, ast.ImportFrom, ast.Expr)
    own = [node for node in module.syntax.body if not isinstance(node, kinds)]
    listed = module.literal("__all__")
    return isinstance(listed, list) and bool(listed) and len(own) == 1


def promised_names_are_there(tree: Tree) -> Iterator[str]:
    """A distribution that is built has every name the catalogue promises, but for those listed as later."""
    built = {one.name for one in tree.distributions}
    there = {name: owner(home) or "roomkit-core" for name, home in built_names(tree)}
    for distribution, names in tree.catalogue["names"].items():
        later = tree.catalogue["later"].get(distribution, [])
        for name in names:
            if name not in there:
                if distribution in built and name not in later:
                    yield f"{distribution} lacks {name}; bring it, or list it in [later] of catalogue.toml"
            elif there[name] != distribution:
                yield f"{name} is promised from {distribution}, but {there[name]} brings it; move it there"
            elif name in later:
                yield f"{name} is there; remove it from [later] in catalogue.toml"

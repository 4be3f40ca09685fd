"""Public names: what is promised is there, and what is generated is current."""

from __future__ import annotations

from collections.abc import Iterator

from tests.tree.exports import built_names, generate
from tests.tree.source import Tree, owner


def exports_are_current(tree: Tree) -> Iterator[str]:
    """The generated modules are what the generator makes of the tree."""
    files = generate(tree)
    for path, text in files.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield f"{path.relative_to(tree.root)} is out of date; run `uv run nox -s exports`"
    for module in tree.core:
        if module.generated and module.path not in files:
            yield f"{tree.place(module)} is generated from nothing any more; delete it"


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

"""A name says what a thing is, and the same thing is called the same everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tools.source import Tree

VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "shared", "manager2", "base2"}

LIBRARIES = {
    "roomkit-sql": "what stores in SQL databases share",
    "roomkit-wire": "what vendors' plugins share",
}
"""Distributions that bring no component, each with what it is for; `[allowed]` says who may depend on one."""


def distributions_follow_the_house(tree: Tree) -> Iterator[str]:
    """Folder and distribution `roomkit-x`, module `roomkit_plugins.x`."""
    for one in tree.distributions:
        place = f"packages/{one.folder.name}/pyproject.toml"
        if one.project["project"]["name"] != one.name:
            yield f"{place}: name is {one.project['project']['name']!r}; the folder says {one.name!r}"
        backend = one.project.get("tool", {}).get("uv", {}).get("build-backend", {})
        if backend.get("module-name") != (one.module or []):
            yield f"{place}: module-name is {backend.get('module-name')!r}; write {one.module or []!r}"


def entry_points_follow_the_house(tree: Tree) -> Iterator[str]:
    """Plugin `x` is found through the entry point `x`, at its `plugin.py`; a library is not found at all."""
    for plugin in tree.plugins:
        if plugin.name in LIBRARIES:
            if "entry-points" in plugin.project["project"]:
                place = f"packages/{plugin.name}/pyproject.toml"
                yield f"{place}: a library registers nothing; remove entry-points"
            continue
        module = f"{plugin.module}.plugin"
        entries = plugin.project["project"].get("entry-points", {}).get("roomkit", {})
        if entries != {plugin.short: module}:
            yield (
                f"packages/{plugin.name}/pyproject.toml: "
                f'[project.entry-points.roomkit] must hold {plugin.short} = "{module}" and nothing else'
            )
        if module not in {each.name for each in plugin.modules}:
            yield f"packages/{plugin.name} has no plugin.py; it registers the components"


def components_follow_the_house(tree: Tree) -> Iterator[str]:
    """A plugin registers components under its own name, and calls a config `XConfig`."""
    for plugin in tree.plugins:
        place = f"packages/{plugin.name}"
        for declared in plugin.declared:
            for reference in filter(None, (declared.target, declared.config)):
                if reference.partition(":")[0] not in {module.name for module in plugin.modules}:
                    yield f"{place}: {declared.name} is {reference}, which is not in it"
            if declared.config and not declared.config.endswith("Config"):
                yield f"{place}: {declared.name} is set up by {declared.config}; call it XConfig"


def a_class_name_means_one_thing(tree: Tree) -> Iterator[str]:
    """The name of a public class means one class in the whole tree."""
    places: dict[str, list[str]] = {}
    for module in tree.sources:
        for node in () if module.generated else module.syntax.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(tree.place(module, node.lineno))
    for name, found in places.items():
        if len(found) > 1:
            yield f"{name} is the name of {' and '.join(found)}; rename all but one"


def modules_are_not_vague(tree: Tree) -> Iterator[str]:
    """A module's name describes its contents."""
    for module in tree.sources:
        if VAGUE.intersection(module.name.split(".")):
            yield f"{tree.place(module)}: {module.name} tells nothing; name it after what it holds"

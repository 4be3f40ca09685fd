"""The contract's sketches are written as an outsider's plugin would be."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tree.rules.code import BEHIND_THE_KIT
from tools.source import Module, Tree

FOLDER = "tests.contract_sketches."
STAGE = ("stage", "preload", "conftest", "__init__")
"""The module that is not a plugin: it makes the workers that sketches play on."""

CONTRACT = {"roomkit", "roomkit.abc", "roomkit.abc.services", "roomkit.abc.voice", "roomkit.plugins"}
_OWN = ("self", "cls")


def sketches_know_the_contract_alone(tree: Tree) -> Iterator[str]:
    """A sketch imports the contract's public names, keeps no kit, and touches nothing behind it."""
    for module in tree.tests:
        name = module.name.removeprefix(FOLDER)
        if name == module.name or name in STAGE:
            continue
        is_test = name.startswith("test_")
        yield from _imports(tree, module, CONTRACT | {"roomkit.testing"} if is_test else CONTRACT)
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Attribute) and (problem := _reach(node, is_test=is_test)):
                yield f"{tree.place(module, node.lineno)}: {problem}"


def _imports(tree: Tree, module: Module, allowed: set[str]) -> Iterator[str]:
    for used in module.imports:
        if used.module.partition(".")[0] in ("roomkit", "roomkit_plugins") and used.module not in allowed:
            yield f"{tree.place(module, used.line)} imports {used.module}; a sketch has {sorted(allowed)}"


def _reach(node: ast.Attribute, *, is_test: bool) -> str | None:
    """Return the fault of reading an attribute, None without one."""
    holder = ast.unparse(node.value)
    is_own = holder in _OWN or holder == "super()"
    if node.attr.startswith("_") and not node.attr.startswith("__") and not is_own:
        return f"{holder}.{node.attr} is private"
    if node.attr in BEHIND_THE_KIT and holder.rpartition(".")[2].strip("_").startswith("kit"):
        return f"{holder}.{node.attr} is behind the contract"
    if is_own and node.attr in ("kit", "_kit") and not is_test:
        return f"{holder}.{node.attr}: a plugin has its services, and keeps no kit"
    return None

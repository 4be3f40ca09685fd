"""Measures the floor plan: code lines, arrows between the kernel's rooms, circles of imports.

`python -m tests.tree.plan` prints the figures; the rule `sizes_are_kept` compares the first with `plan.toml`.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from tools.source import Import, Module, Tree

__all__ = ["FILE", "SIZES", "circles", "code_lines", "size_of", "sizes"]

FILE = Path(__file__).with_name("plan.toml")
_NO_CODE = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
)
_BESIDE = (
    "roomkit.kernel.privacy",
    "roomkit.kernel.meeting",
    "roomkit.kernel.schedule",
    "roomkit.kernel.consent",
    "roomkit.kernel.media",
    "roomkit.authoring.turns",
    "roomkit.authoring.conversation",
    "roomkit.authoring.payload",
    "roomkit.memory.executor",
)
_VOICE = "roomkit.abc.voice"
SIZES = ("path", "voice", "beside")
"""What a message passes; the contracts of voice; what lies beside a message's path."""


def code_lines(module: Module) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    held = {
        line
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - set(_docstrings(module.syntax)))


def _docstrings(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    yield from range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def size_of(module: str) -> str:
    """Return which of the core's `SIZES` a module counts for."""
    if module.startswith(_VOICE):
        return "voice"
    return "beside" if module.startswith(_BESIDE) else "path"


def sizes(tree: Tree) -> Mapping[str, int]:
    """Return the code lines of the core by what they are for, generated modules left out."""
    found = Counter(dict.fromkeys(SIZES, 0))
    for module in tree.core:
        if not module.generated:
            found[size_of(module.name)] += code_lines(module)
    return found


def limits() -> Mapping[str, int]:
    """Return the most code lines that the core may have, by what they are for."""
    stored: dict[str, int] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return stored


def arrows(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Return which of the modules each of them imports, for checkers too."""
    own = [module for module in modules if not module.generated]
    known = {module.name for module in own}
    return {
        module.name: {name for used in module.imports for name in _imported(used, known)} - {module.name}
        for module in own
    }


def _imported(used: Import, known: Collection[str]) -> Iterator[str]:
    """Yield the known modules that an import takes from; `from package import module` takes the module."""
    modules = {f"{used.module}.{name}" for name in used.names} & set(known)
    yield from modules
    if used.module in known and (not used.names or len(modules) < len(used.names)):
        yield used.module


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other, each sorted (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[2] if len(parts) > 3 else module


def main() -> None:
    """Print the figures."""
    tree = Tree()
    for name, lines in sizes(tree).items():
        sys.stdout.write(f"core, {name}: {lines} code lines\n")
    kernel = arrows(module for module in tree.core if module.name.startswith("roomkit.kernel."))
    between = {
        (_room(one), _room(other))
        for one, others in kernel.items()
        for other in others
        if _room(one) != _room(other)
    }
    count = sum(len(others) for others in kernel.values())
    sys.stdout.write(
        f"kernel: {len(kernel)} modules, {count} arrows between them, {len(between)} between rooms\n"
    )
    for distribution in tree.distributions:
        found = circles(arrows(distribution.modules))
        sys.stdout.write(f"{distribution.name}: circles of imports: {found or 'none'}\n")


if __name__ == "__main__":
    main()

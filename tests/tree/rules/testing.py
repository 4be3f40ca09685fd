"""What every test does, and does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeGuard

from tools.source import Tree

SENTENCE = 5
"""From how many words on a test's name says what the test shows."""


def tests_say_what_they_show(tree: Tree) -> Iterator[str]:
    """A test's name is a sentence; where it is short, a docstring says the behaviour."""
    for module in tree.tests:
        for node in ast.walk(module.syntax):
            if _is_test(node) and not _says_what_it_shows(node):
                place = tree.place(module, node.lineno)
                yield f"{place}: {node.name} says too little: make it a sentence, or add a docstring"


def _says_what_it_shows(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    words = test.name.removeprefix("test_").split("_")
    return len(words) >= SENTENCE or ast.get_docstring(test) is not None


def tests_do_not_sleep(tree: Tree) -> Iterator[str]:
    """A test waits for something to happen, or runs on virtual time."""
    for module in tree.tests:
        for line in _sleeps(module.syntax, virtual=_is_marked(module.syntax)):
            if not any(word in module.lines[line - 1] for word in ("# virtual time", "# other processes")):
                yield (
                    f"{tree.place(module, line)} sleeps; wait for an event, mark the test `virtual_time`, "
                    f"or say `# virtual time` where the mark cannot be seen, `# other processes` where "
                    f"only they know"
                )


def _is_test(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


def _sleeps(node: ast.AST, virtual: bool) -> Iterator[int]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            virtual = virtual or any("virtual_time" in ast.unparse(each) for each in node.decorator_list)
        case ast.Call(
            func=ast.Attribute(attr="sleep", value=ast.Name(id="time" | "asyncio")), args=arguments
        ):
            is_a_yield = [getattr(argument, "value", None) for argument in arguments] == [0]
            if not (virtual or is_a_yield):
                yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _sleeps(child, virtual)


def _is_marked(module: ast.Module) -> bool:
    marks = [
        node for node in module.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)
    ]
    return any("virtual_time" in ast.unparse(mark) for mark in marks)

"""Small validators over the whole tree. Each yields the fault and the remedy.

A rule takes a `Tree` and knows nothing of the others. Add one by writing a function in a module here,
and a planted violation in `test_rules.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from tests.tree.rules import code, imports, naming, packages, public, sketches, testing
from tools.source import Tree

type Rule = Callable[[Tree], Iterator[str]]

ALL: list[Rule] = [
    function
    for module in (code, imports, naming, packages, public, sketches, testing)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
]

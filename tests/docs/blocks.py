"""Runs the documentation: a page is one program, its Python blocks the parts of it.

The blocks of a page run in order, in one namespace and on one event loop with virtual time, where
`await` may stand at the top. A block that calls `asyncio.run` is a program of its own. A block with a
`title="..."` is a file, and tested elsewhere. A `text` block right after a Python block is what that prints.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from roomkit_plugins.testing import VirtualTimeLoop

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = (
    ROOT / "README.md",
    ROOT / "AGENTS.md",
    ROOT / "llms.txt",
    ROOT / "packages/roomkit-core/README.md",
    *DOCS,
)
_FENCE = re.compile(
    r"^```(?P<language>\w*)(?P<options>[^\n]*)\n(?P<code>.*?)^```$(?:\n\n?^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


def in_checkout(page: Path) -> str:
    """Name a page by its path, for the ids of tests."""
    return str(page.relative_to(ROOT))


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it is, what it says, and what it should print (None: whatever it likes)."""

    page: Path
    line: int
    code: str
    output: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_program(self) -> bool:
        """Whether it brings its own event loop."""
        return "asyncio.run(" in self.code

    def compiled(self) -> CodeType:
        """Compile it so that tracebacks show the line of the page."""
        flags = 0 if self.is_program else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: CodeType = compile("\n" * self.line + self.code, str(self.page), "exec", flags=flags)
        return code


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the Python blocks of a page that are to be run."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found["language"] == "python" and "title=" not in found["options"]:
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, line, found["code"], found["output"])


def pages_with_blocks() -> list[Path]:
    """List the pages that have something to run."""
    return [page for page in PAGES if any(blocks_of(page))]


def run(page: Path) -> None:
    """Run a page; what a block should print is compared."""
    module = ModuleType("__main__")
    module.__file__ = str(page)
    before = sys.modules.get("__main__")
    sys.modules["__main__"] = module  # where classes defined on the page live
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            for block in blocks_of(page):
                printed = _run(block, module, runner)
                assert block.output is None or printed == block.output, f"{block.place} printed:\n{printed}"
    finally:
        if before is not None:
            sys.modules["__main__"] = before


def _run(block: Block, module: ModuleType, runner: asyncio.Runner) -> str:
    printed = io.StringIO()
    code = block.compiled()
    with contextlib.redirect_stdout(printed):
        if block.is_program:
            exec(code, {"__name__": "__main__"})
        elif code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, module.__dict__))
        else:
            runner.run(_plain(code, module))
    return printed.getvalue()


async def _plain(code: CodeType, module: ModuleType) -> None:
    exec(code, module.__dict__)

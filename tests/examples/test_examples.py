"""Every example runs as it stands, without a key, and prints what it says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
STORIES = (
    "approval_by_text",
    "bilingual_hotline",
    "delegated_research",
    "reviewer_loop",
    "support_triage",
)
"""Conversations of several agents and people; `test_stories.py` says who sees what in them."""


def promised(example: Path) -> str:
    said = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, _, output = said.partition("\nPrints:\n")
    return textwrap.dedent(output).strip() + "\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(example):
    """With warnings as errors. Standard error has the log alone: some show what fails on purpose."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    answer = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (answer.stdout, answer.returncode) == (promised(example), 0), answer.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_small_and_listed(example):
    """At most sixty lines besides what it prints and imports, a story eighty, and a row in the README."""
    text = example.read_text(encoding="utf-8")
    program = [node for node in ast.parse(text).body if not isinstance(node, ast.Import | ast.ImportFrom)][1:]
    assert len(text.splitlines()) - program[0].lineno < (80 if example.stem in STORIES else 60)
    assert f"[`{example.name}`]({example.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")

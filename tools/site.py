"""Builds the documentation as a web site that needs no network to be read.

    uv run nox -s site

The pages are those of the checkout, in their own places, so that their links hold; the reference of
everything public is added, a page for each module, read from the source. A link that leads nowhere fails the
build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from tools.exports import built_names
from tools.source import ROOT, Tree

PAGES = ("*.md", "docs/**/*.md", "packages/*/README.md", "packages/*/CHANGELOG.md", "examples/README.md")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)")


def sources() -> list[Path]:
    """List the pages of the checkout, and the files that they link to."""
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    linked = {target for page in pages for target in _linked(page) if target.is_file()}
    return sorted(pages | linked)


def _linked(page: Path) -> Iterator[Path]:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        yield (page.parent / target).resolve()


def reference() -> dict[str, str]:
    """Make a page for each module that public names come from, and a list of them all."""
    homes = sorted((home, name) for name, home in built_names(Tree()))
    grouped = {home: [name for _, name in named] for home, named in groupby(homes, key=itemgetter(0))}
    rows = [
        f"| [`{home}`]({home}.md) | {', '.join(f'`{name}`' for name in grouped[home])} |" for home in grouped
    ]
    pages = {"index.md": "\n".join(["# Public names", "", "| module | names |", "|---|---|", *rows, ""])}
    for home, names in grouped.items():
        entries = "\n\n".join(f"::: {home}.{name}" for name in names)
        pages[f"{home}.md"] = f"# `{home}`\n\n{entries}\n"
    return pages


def configuration(pages: Path) -> str:
    """Make the configuration of mkdocs. No font or script is fetched, neither to build nor to read."""
    paths = ", ".join(str(path) for path in sorted(ROOT.glob("packages/*/src")))
    return f"""\
site_name: RoomKit
docs_dir: {pages}
site_dir: {pages.parent / "html"}
use_directory_urls: false
theme:
  name: material
  font: false
  features: [navigation.indexes, navigation.top, toc.follow]
plugins:
  - search
  - mkdocstrings:
      handlers:
        python:
          paths: [{paths}]
          options:
            show_root_heading: true
            show_source: false
            heading_level: 2
            members_order: source
            docstring_style: null
            filters: ["!^_"]
markdown_extensions: [tables, fenced_code, pymdownx.superfences, pymdownx.highlight]
"""


def stage(folder: Path) -> Path:
    """Copy and write all pages; return the configuration of mkdocs."""
    pages = folder / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for path in sources():
        target = pages / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (pages / "api").mkdir()
    for name, text in reference().items():
        (pages / "api" / name).write_text(text, encoding="utf-8")
    written = folder / "mkdocs.yml"
    written.write_text(configuration(pages), encoding="utf-8")
    return written


def main(folder: str) -> int:
    """Build the site below a folder; return the exit code of mkdocs."""
    where = Path(folder).resolve()
    where.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(stage(where))]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # of the theme, about its successor
    return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
